"""Errors: why items could not be carried out, and whether trying again can help."""

from __future__ import annotations

from retour_policy.errors import RetourError


class DeliveryError(RetourError):
    """A batch was not carried out. Unknown means temporary."""

    def __init__(self, explanation: str, *, temporary: bool = True, wait: int = 0) -> None:
        super().__init__(explanation)
        self.temporary = temporary
        self.wait = wait
        """Milliseconds that the receiver asks us to wait, at least."""
