"""Suppression: one address that is suppressed in one scope; cause, dates, and how they are shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from retour_policy.clock import day_text, is_ahead
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
        """Whether it holds at `now`. One that begins in the future, by a clock that was ahead, does not."""
        return not (is_ahead(self.since, now) or self.has_run_out(now))

    def has_run_out(self, now: int) -> bool:
        """Whether its time is over at `now`."""
        return self.until is not None and self.until <= now

    def applies(self, stream: str, *, transactional: bool) -> bool:
        """Whether it is about mail of that stream. Nobody can unsubscribe from transactional mail."""
        if transactional and self.cause == "unsubscribe":
            return False
        return self.scope in (EVERYWHERE, stream) or (self.scope == BULK and not transactional)

    def words(self) -> str:
        """Cause, reason and dates in one line, as an SMTP reply and the lists show them."""
        note = f" ({self.note})" if self.note else ""
        until = f", until {day_text(self.until)}" if self.until else ""
        return f"{CAUSES.get(self.cause, self.cause)}{note}, since {day_text(self.since)}{until}"

    def to_dict(self) -> dict[str, Any]:
        """The values by name."""
        return asdict(self)


def strongest(some: Iterable[Suppression], now: int) -> Suppression | None:
    """Of those in force at `now` the one to name, which lasts longest; None if none is.

    A trial, in which one message may go, only where there is nothing else.
    """
    in_force = [one for one in some if one.in_force(now)]
    holding = [one for one in in_force if one.cause != "trial"] or in_force
    return max(holding, key=lambda one: (one.until is None, one.until or 0), default=None)
