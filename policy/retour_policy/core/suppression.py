"""Suppression: one address that is suppressed in one scope; cause, dates, and how they are shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from retour_policy.clock import day_text
from retour_policy.core.decide import BULK, EVERYWHERE

CAUSES = {
    "hard": "hard bounces",
    "soft": "soft bounces",
    "network": "unreachable for long",
    "pause": "paused after a hard bounce",
    "autoreply": "auto-replies",
    "complaint": "a complaint",
    "unsubscribe": "unsubscribed",
    "operator": "by the postmaster",
    "trial": "one message tries whether it works again",
}


@dataclass(frozen=True, slots=True)
class Suppression:
    """Where, why, since and until when (milliseconds; None: for good)."""

    scope: str
    """* (everywhere), *bulk (every stream that is not transactional), or a stream."""
    cause: str
    since: int
    until: int | None
    note: str = ""
    tries: bool = False
    """When it has run out, one send may try, and the others wait for its outcome."""
    fact: int = 0
    """The fact that triggered it."""

    def in_force(self, now: int) -> bool:
        """Whether it holds at `now`."""
        return self.until is None or self.until > now

    def applies(self, stream: str, *, transactional: bool) -> bool:
        """Whether it is about mail of that stream."""
        return self.scope in (EVERYWHERE, stream) or (self.scope == BULK and not transactional)

    def words(self) -> str:
        """Cause, reason and dates in one line, as an SMTP reply and the lists show them."""
        note = f" ({self.note})" if self.note else ""
        until = f", until {day_text(self.until)}" if self.until else ""
        return f"{CAUSES.get(self.cause, self.cause)}{note}, since {day_text(self.since)}{until}"

    def to_dict(self) -> dict[str, Any]:
        """The values by name."""
        return asdict(self)


def longest(found: Iterable[Suppression], now: int) -> Suppression | None:
    """Of those in force at `now` the one that lasts longest, which is the one to name; None if none is."""
    in_force = (one for one in found if one.in_force(now))
    return max(in_force, key=lambda one: (one.until is None, one.until or 0), default=None)
