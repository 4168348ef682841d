"""Signer: makes the tokens that mail carries, and names the header field of the loop guard."""

from __future__ import annotations

from retour_policy.clock import Clock
from retour_policy.config.model import Stream
from retour_policy.tokens import subscription, token
from retour_policy.tokens.keyring import KeyRingFile
from retour_policy.tokens.token import Purpose

LOOP_GUARD = "Retour-Forwarded"
"""The header field that marks Retour's own forwards; signed, so that nobody else can make one."""


class Signer:
    """Makes the tokens that a `Router` reads."""

    def __init__(self, ring: KeyRingFile, clock: Clock) -> None:
        self._ring = ring
        self._clock = clock

    def draw(self) -> int:
        """A new id for now."""
        return token.draw_id(self._clock())

    def envelope_sender(self, stream: Stream, number: int) -> str:
        """The VERP address of a send in a stream that has a pattern."""
        if not stream.pattern:
            raise ValueError(f"stream {stream.name} has no pattern")
        return stream.pattern.address(token.make(self._ring.ring, Purpose.BOUNCE, stream.pattern.domain, number))

    def forward(self) -> str:
        """The value of a new loop guard."""
        return token.make(self._ring.ring, Purpose.FORWARD, "", self.draw())

    def subscription(self, number: int) -> str:
        """The token by which an address leaves a stream."""
        return subscription.make(self._ring.ring, number, self._clock())

    def group_subscription(self, number: int) -> str:
        """The token by which one of several recipients of a send leaves its stream."""
        return token.make(self._ring.ring, Purpose.GROUP_UNSUBSCRIBE, "", number)

    def feedback(self, number: int) -> str:
        """The value of a CFBL-Feedback-ID field."""
        return token.make(self._ring.ring, Purpose.FEEDBACK, "", number)

    def reference(self, number: int) -> str:
        """The value of a Retour-Ref field."""
        return token.make(self._ring.ring, Purpose.REFERENCE, "", number)
