"""Router: which send or role a bounce address stands for, by the address alone, without the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from retour_policy.address import domain_of, normalise
from retour_policy.clock import Clock
from retour_policy.config.model import Config, Stream
from retour_policy.messages.signer import LOOP_GUARD
from retour_policy.tokens import subscription, token
from retour_policy.tokens.keyring import KeyRing, KeyRingFile
from retour_policy.tokens.token import Purpose, UnknownKey

_MAX_HEADER_OCTETS = 100_000  # in which the loop guard is searched
ROLES = ("postmaster", "abuse")  # RFC 2142; each domain that takes mail must have them


class UnknownAddress(ValueError):
    """Not an address of Retour's."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a bounce address stands for."""

    kind: Literal["verp", "static", "role", "feedback", "unsubscribe"]
    stream: str | None = None
    """The stream of the pattern; several streams may share one, so the send record decides."""
    send: int | None = None
    """The id in the verified token."""
    named: str | None = None
    """The recipient that Postfix's XVERP put after the token; a hint, not signed."""
    subscription: int | None = None
    """The number in the verified token of somebody who unsubscribes; None: one of several recipients of `send`."""


class Router:
    """Reads bounce addresses. Safe in any thread; `config` may be replaced while it runs."""

    def __init__(self, config: Config, ring: KeyRingFile, clock: Clock) -> None:
        self.config = config
        self._ring = ring
        self._clock = clock

    def route(self, address: str) -> Route:
        """What `address` (without <>) stands for.

        Raises `UnknownAddress`, `Expired`, `Forged`, or where the ring, read again, still lacks the key, `UnknownKey`
        or `KeyToCome`.
        """
        for stream in self.config.stream:
            found = stream.pattern.match(address) if stream.pattern else None
            if found and stream.pattern:
                try:
                    number = self._read(Purpose.BOUNCE, stream.pattern.domain, found.token)
                except token.NotAToken:
                    continue
                return Route("verp", stream.name, number, found.recipient)
        return self._unsubscribing(address) or self._unsigned(address)

    def is_forward(self, raw: bytes) -> bool:
        """Whether a message is a forward that Retour made."""
        head = raw[:_MAX_HEADER_OCTETS].replace(b"\r\n", b"\n").partition(b"\n\n")[0]
        for line in head.decode("ascii", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.lower() == LOOP_GUARD.lower():
                try:
                    return self._read(Purpose.FORWARD, "", value.strip()) is not None
                except token.TokenError:
                    continue
        return False

    def feedback(self, text: str) -> int | None:
        """The send id in a genuine CFBL-Feedback-ID field, else None."""
        try:
            return self._read(Purpose.FEEDBACK, "", text.strip())
        except token.TokenError:
            return None

    def reference(self, text: str) -> int | None:
        """The send id in a genuine Retour-Ref field, else None."""
        try:
            return self._read(Purpose.REFERENCE, "", text.strip())
        except token.TokenError:
            return None

    def subscription(self, text: str) -> int:
        """The number of the subscription that a token stands for. Raises `TokenError`."""
        return self._fresh(lambda ring: subscription.read(ring, text, self._clock()))

    def verp(self, address: str) -> Route | None:
        """What `address` stands for if it is a VERP address whose token verifies."""
        try:
            route = self.route(address)
        except (UnknownAddress, token.TokenError):
            return None
        return route if route.kind == "verp" else None

    def send_of(self, address: str) -> int | None:
        """The send id in a VERP address whose token verifies."""
        found = self.verp(address)
        return found.send if found else None

    def _unsubscribing(self, address: str) -> Route | None:
        """What `address` stands for if people unsubscribe by writing to it. Raises `TokenError`.

        Also where the configuration names it no longer: messages that do are on their way for long.
        """
        for pattern in self.config.patterns:
            found = pattern.match(address, token.LONG_LENGTH)
            if found is None or found.recipient:
                continue
            try:
                return Route("unsubscribe", subscription=self.subscription(found.token))
            except token.Forged:
                send = self._read(Purpose.GROUP_UNSUBSCRIBE, "", found.token, subscription.LIFETIME_DAYS)
                return Route("unsubscribe", send=send)
            except token.NotAToken:
                continue
        return None

    def _unsigned(self, address: str) -> Route:
        local, _, _ = address.rpartition("@")
        if self.config.lmtpd.feedback and normalise(address) == normalise(self.config.lmtpd.feedback):
            return Route("feedback")
        if normalise(address) in self.config.static_senders:
            return Route("static", self._static_stream(address).name)
        if local.lower() in ROLES and domain_of(address) in self.config.bounce_domains:
            return Route("role")
        raise UnknownAddress(address)

    def _static_stream(self, address: str) -> Stream:
        wanted = normalise(address)
        return next(stream for stream in self.config.stream if wanted in map(normalise, stream.fixed_addresses))

    def _read(self, purpose: Purpose, domain: str, text: str, days: int | None = None) -> int:
        days = days or self.config.tokens.bounce_days
        return self._fresh(lambda ring: token.read(ring, purpose, domain, text, now=self._clock(), days=days))

    def _fresh(self, read: Callable[[KeyRing], int]) -> int:
        """What `read` finds; where the key ring lacks the key, it is read again."""
        ring = self._ring.ring
        try:
            return read(ring)
        except UnknownKey:
            self._ring.refresh()
            if self._ring.ring is ring:  # unless another thread has just read it again
                raise
        return read(self._ring.ring)
