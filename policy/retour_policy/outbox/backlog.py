"""Backlog: how much waits in the outbox, and what must not wait any longer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, case, func, or_, select, update

from retour_policy.outbox.queue import GIVE_UP_AFTER, WAITS
from retour_policy.sanitize import clean
from retour_policy.store import schema

_table = schema.outbox


def orphans(connection: Connection, channels: Iterable[str], before: int, now: int, most: int) -> list[int]:
    """What waits since `before` for a hook or a relay that is not in the configuration.

    A courier that knows more than this one keeps what it has in hand.
    """
    lost = and_(_table.c.failed == 0, _table.c.channel.not_in(list(channels)), _table.c.at < before)
    free = or_(_table.c.taken_by.is_(None), _table.c.due < now)
    return list(connection.scalars(select(_table.c.id).where(lost, free).limit(most)))


def given_up(connection: Connection, channel: str, now: int, most: int) -> list[int]:
    """What nobody has in hand, and should have been told by now."""
    waits = and_(_table.c.failed == 0, _table.c.channel == channel, _table.c.due <= now, _table.c.give_up < now)
    return list(connection.scalars(select(_table.c.id).where(waits).limit(most)))


def bury(connection: Connection, ids: Sequence[int], now: int, words: str) -> None:
    """Make dead letters of these, unless somebody has taken them meanwhile."""
    free = and_(_table.c.id.in_(ids), WAITS, or_(_table.c.taken_by.is_(None), _table.c.due <= now))
    connection.execute(update(_table).where(free).values(failed=1, error=clean(words), due=now, taken_by=None))


def old_dead(connection: Connection, before: int, most: int) -> list[int]:
    """Dead letters that died before then."""
    old = and_(_table.c.failed == 1, _table.c.due < before)
    return list(connection.scalars(select(_table.c.id).where(old).limit(most)))


@dataclass(frozen=True, slots=True)
class Figures:
    """How it looks in one channel."""

    channel: str
    waiting: int
    oldest: int | None
    """When the oldest that waits was due first: later than when it was put there for a resend."""
    late: int
    """Of those that wait: how many have failed before."""
    failed: int
    """Dead letters."""


def figures(connection: Connection, now: int) -> list[Figures]:
    """How it looks, by channel. What is not due yet for the first time does not count as waiting."""
    began = _table.c.give_up - GIVE_UP_AFTER
    waits = and_(_table.c.failed == 0, began <= now)
    query = (
        select(
            _table.c.channel,
            func.count(case((waits, 1))),
            func.min(case((waits, began))),
            func.count(case((and_(waits, _table.c.attempts > 0), 1))),
            func.count(case((_table.c.failed == 1, 1))),
        )
        .group_by(_table.c.channel)
        .order_by(_table.c.channel)
    )
    return [Figures(*row) for row in connection.execute(query)]
