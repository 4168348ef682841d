"""Failure: why an item could not be carried out, and whether trying again can help."""

from __future__ import annotations

from retour_policy.errors import RetourError


class DeliveryError(RetourError):
    """It was not carried out. Unknown means temporary."""

    def __init__(self, words: str, *, temporary: bool = True, wait: int = 0) -> None:
        super().__init__(words)
        self.temporary = temporary
        self.wait = wait
        """Milliseconds that the receiver asks us to wait, at least."""
