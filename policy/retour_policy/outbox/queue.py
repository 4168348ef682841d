"""Queue: when an item of the outbox is due, how long the pauses between attempts are, and when it is given up."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from retour_policy.clock import HOUR
from retour_policy.config.courier import CourierSection
from retour_policy.store import outbox
from retour_policy.store.outbox import FailedAttempt, Item, NewItem

FORWARD = "forward"
"""The channel of what postmaster gets."""
GIVE_UP_AFTER_MS = 72 * HOUR
RETRY_FACTOR = 3  # each pause is this many times the one before
JITTER = (0.8, 1.2)  # so that items that failed together are not retried together


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that could not be carried out."""

    item: Item
    error: str
    permanent: bool
    pause: int
    """Milliseconds until the next try, if there is one."""

    def is_last(self, now: int) -> bool:
        """Whether there is no next try: the item becomes a dead letter."""
        return self.permanent or now + self.pause > self.item.give_up


def put(connection: Connection, new: NewItem) -> int:
    """Queue an item; its id."""
    due = new.at if new.due is None else new.due
    return outbox.write(connection, new, due, due + GIVE_UP_AFTER_MS)


def pause(attempts: int, limits: CourierSection, chance: float | None = None) -> int:
    """Milliseconds until the next try, after `attempts` earlier failures."""
    longest = min(limits.first_pause * RETRY_FACTOR ** min(attempts, 20), limits.longest_pause)
    low, high = JITTER
    return int(longest * (low + (high - low) * (random.random() if chance is None else chance)))


def fail(connection: Connection, failures: Sequence[Failure], me: str, now: int) -> None:
    """Try these again after their pauses, or keep them as dead letters."""
    outbox.fail(connection, [_attempt(one, now) for one in failures], me)


def _attempt(failure: Failure, now: int) -> FailedAttempt:
    item, dead = failure.item, failure.is_last(now)
    return FailedAttempt(item.id, item.attempts + 1, failure.error, now if dead else now + failure.pause, dead)
