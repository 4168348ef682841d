"""Backlog of the outbox: how much waits in each channel, and what has waited too long."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, case, func, or_, select, update

from retour_policy.clock import MAX_AHEAD_MS
from retour_policy.sanitize import clean
from retour_policy.store import schema
from retour_policy.store.outbox import IS_WAITING

_table = schema.outbox
_BRING_BACK = (
    update(_table)
    .where(_table.c.id == bindparam("number"))
    .values(at=bindparam("new_at"), due=bindparam("new_due"), give_up=bindparam("new_end"), taken_by=None)
)


@dataclass(frozen=True, slots=True)
class ChannelFigures:
    """How much waits in one channel."""

    channel: str
    waiting: int
    oldest: int | None
    """When the oldest waiting item was first due: for a resend that is later than when it was queued."""
    failing: int
    """Of those that wait: how many have failed before."""
    dead: int
    """Dead letters."""


def read_figures(connection: Connection, now: int, give_up_after: int) -> list[ChannelFigures]:
    """How much waits, by channel. What is not due yet for the first time does not count as waiting.

    `give_up_after` is the time, in milliseconds, from when an item is due first until it is given up.
    """
    began = _table.c.give_up - give_up_after
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
    return [ChannelFigures(*row) for row in connection.execute(query)]


def count_waiting(connection: Connection, channel: str, limit: int) -> int:
    """How many items of a channel wait; `limit` where there are more. Reads an index only."""
    waiting = select(_table.c.id).where(_table.c.failed == 0, _table.c.channel == channel).limit(limit)
    return int(connection.scalar(select(func.count()).select_from(waiting.subquery())) or 0)


def holds_more(connection: Connection, channel: str, octets: int, items: int) -> bool:
    """Whether the bodies of a channel, dead letters included, are more octets than that, or the items more."""
    # Both values named, so that the index is used; of a body SQLite reads only how long it is.
    here = and_(_table.c.failed.in_((0, 1)), _table.c.channel == channel)
    number = select(_table.c.id).where(here).limit(items + 1).subquery()
    if int(connection.scalar(select(func.count()).select_from(number)) or 0) > items:
        return True
    with connection.execute(select(func.length(_table.c.body)).where(here)) as lengths:
        return any(total > octets for total in itertools.accumulate(lengths.scalars()))  # no further than needed


def read_orphans(connection: Connection, channels: Iterable[str], before: int, now: int, limit: int) -> list[int]:
    """The ids of what waits since `before` for a hook or a relay that is not in `channels`.

    A courier that knows more than this one keeps what it has leased.
    """
    orphaned = and_(_table.c.failed == 0, _table.c.channel.not_in(list(channels)), _table.c.at < before)
    free = or_(_table.c.taken_by.is_(None), _table.c.due < now)
    return list(connection.scalars(select(_table.c.id).where(orphaned, free).limit(limit)))


def read_overdue(connection: Connection, channel: str, now: int, limit: int) -> list[int]:
    """The ids of what waits in a channel, is leased to nobody, and should have been done by now."""
    waits = and_(_table.c.failed == 0, _table.c.channel == channel, _table.c.due <= now, _table.c.give_up < now)
    return list(connection.scalars(select(_table.c.id).where(waits).limit(limit)))


def make_dead(connection: Connection, ids: Sequence[int], now: int, error: str) -> None:
    """Make dead letters of these, unless they were leased meanwhile."""
    free = and_(_table.c.id.in_(ids), IS_WAITING, or_(_table.c.taken_by.is_(None), _table.c.due <= now))
    connection.execute(update(_table).where(free).values(failed=1, error=clean(error), due=now, taken_by=None))


@dataclass(frozen=True, slots=True)
class ItemTimes:
    """When an item was queued, is due, and is given up."""

    id: int
    at: int
    due: int
    give_up: int


def read_ahead(connection: Connection, now: int, lease: int, limit: int) -> list[ItemTimes]:
    """Items that a clock which was ahead has queued, put off, leased or made dead letters, by their ids.

    `lease` is how long a lease lasts, in milliseconds: without the clock, none ends so long after the give-up.
    """
    times = (_table.c.id, _table.c.at, _table.c.due, _table.c.give_up)
    end = now + MAX_AHEAD_MS
    wrong = or_(_table.c.at > end, _table.c.failed == 1, _table.c.due > _table.c.give_up + (lease + MAX_AHEAD_MS))
    query = select(*times).where(_table.c.due > end, wrong).order_by(_table.c.id).limit(limit)
    return [ItemTimes(*row) for row in connection.execute(query)]


def bring_back(connection: Connection, items: Sequence[ItemTimes]) -> None:
    """Give these items these times; none of them is leased any more."""
    if items:
        connection.execute(_BRING_BACK, [{"number": one.id, "new_at": one.at, "new_due": one.due,
                                          "new_end": one.give_up} for one in items])  # fmt: skip


def read_dead(connection: Connection, before: int, limit: int) -> list[int]:
    """The ids of dead letters that became so before then."""
    old = and_(_table.c.failed == 1, _table.c.due < before)
    return list(connection.scalars(select(_table.c.id).where(old).limit(limit)))
