"""Outbox: what must happen outside, written with the decision that asks for it, carried out by the courier."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    Connection,
    String,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)

from retour_policy.clock import HOUR
from retour_policy.config.courier import CourierSection
from retour_policy.sanitize import clean
from retour_policy.store import schema

GIVE_UP_AFTER = 72 * HOUR
FORWARD = "forward"
"""The channel of what postmaster gets."""
FACTOR = 3  # each pause is so many times the one before
JITTER = (0.8, 1.2)  # so that what failed together does not come back together
PART = 200  # items that are read or changed at a time by hand
OCTETS = 4_000_000  # of items changed in one transaction: databases write a changed row anew, body and all
_table = schema.outbox
_INSERT = insert(_table)


@dataclass(frozen=True, slots=True)
class NewItem:
    """One thing to do, to be written."""

    at: int
    kind: str
    """event, forward or resend."""
    channel: str
    target: str
    body: bytes
    uid: str = ""
    ordering: int | None = None
    due: int | None = None
    """Not before; None is at once."""
    fact_id: int | None = None
    error: str = ""
    """Why it is a dead letter from the first: it cannot be done."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to do, as the store has it."""

    id: int
    uid: str
    at: int
    kind: str
    channel: str
    ordering: int | None
    due: int
    give_up: int
    attempts: int
    taken_by: str | None
    failed: int
    error: str
    target: str
    body: bytes


_COLUMNS = [_table.c[one.name] for one in fields(Item)]
_WITHOUT_BODY = [literal(b"") if one is _table.c.body else one for one in _COLUMNS]
_number = attrgetter("id")


_earlier = _table.alias()
_IN_FRONT = exists().where(
    _earlier.c.channel == _table.c.channel,
    _earlier.c.ordering == _table.c.ordering,
    _earlier.c.failed == 0,
    _earlier.c.id < _table.c.id,
)
# Due, and nothing before it in its order: one that is in hand or waits for another try holds up those behind.
_READY = and_(_table.c.due <= bindparam("now"), ~_IN_FRONT)
# As an expression: SQLite would search an index for all that wait rather than look at the ids that it is given.
WAITS = func.coalesce(_table.c.failed, 0) == 0
# Made once, so that their text is too.
_LONGEST_DUE = (
    select(_table.c.id)
    .where(_table.c.failed == 0, _table.c.channel == bindparam("of"), _READY)
    .order_by(_table.c.due, _table.c.id)
    .limit(bindparam("most"))
    .subquery()
)
_DUE = select(func.aggregate_strings(cast(_LONGEST_DUE.c.id, String), ","))  # one row: each gives up the interpreter
_FREE = (
    select(_table.c.id)
    .where(_table.c.id.in_(bindparam("ids", expanding=True)), WAITS, _READY)
    .with_for_update(skip_locked=True)
    .cte("free")
)
_TAKE = (
    update(_table)
    .where(_table.c.id.in_(select(_FREE.c.id)))
    .values(due=bindparam("until"), taken_by=bindparam("me"))
    .returning(*_COLUMNS)
)
_FAILED = (
    update(_table)
    .where(_table.c.id == bindparam("number"), _table.c.taken_by == bindparam("me"))
    .values(
        attempts=bindparam("tries"),
        error=bindparam("words"),
        due=bindparam("next"),
        failed=bindparam("dead"),
        taken_by=None,
    )
)


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that could not be carried out."""

    item: Item
    error: str
    permanent: bool
    pause: int
    """Milliseconds until the next try, where there is one."""

    def dead(self, now: int) -> bool:
        """Whether there is none."""
        return self.permanent or now + self.pause > self.item.give_up


def put(connection: Connection, new: NewItem) -> int:
    """Queue an item; its id."""
    due = new.at if new.due is None else new.due
    row = {
        "uid": new.uid or secrets.token_hex(16),
        "at": new.at,
        "kind": new.kind,
        "channel": new.channel,
        "ordering": new.ordering,
        "due": due,
        "give_up": due + GIVE_UP_AFTER,
        "failed": int(bool(new.error)),
        "error": clean(new.error),
        "fact_id": new.fact_id,
        "target": new.target,
        "body": new.body,
    }
    written = connection.execute(_INSERT, row).inserted_primary_key
    return int(written[0]) if written else 0


def pause(attempts: int, limits: CourierSection, chance: float | None = None) -> int:
    """Milliseconds until the next try after so many that failed before this one."""
    longest = min(limits.first_pause * FACTOR ** min(attempts, 20), limits.longest_pause)
    low, high = JITTER
    return int(longest * (low + (high - low) * (random.random() if chance is None else chance)))


def due_ids(connection: Connection, channel: str, now: int, most: int) -> list[int]:
    """What could be taken now, the longest due first."""
    found = connection.scalar(_DUE, {"of": channel, "now": now, "most": most})
    return [int(number) for number in found.split(",")] if found else []


def take(connection: Connection, ids: Iterable[int], me: str, now: int, until: int) -> list[Item]:
    """Lease those of `ids` that nobody else has taken meanwhile, until `until`. Each is at one courier at a time."""
    values = {"ids": list(ids), "now": now, "me": me, "until": until}
    return sorted([Item(*row) for row in connection.execute(_TAKE, values).all()], key=_number)


def renew(connection: Connection, ids: Iterable[int], me: str, until: int) -> set[int]:
    """Hold on to what is in hand; those that are still mine."""
    mine = and_(_table.c.id.in_(list(ids)), _table.c.taken_by == me)
    connection.execute(update(_table).where(mine).values(due=until))
    return set(connection.scalars(select(_table.c.id).where(mine)))


def release(connection: Connection, ids: Iterable[int], me: str, now: int) -> None:
    """Give back what was not begun."""
    mine = and_(_table.c.id.in_(list(ids)), _table.c.taken_by == me)
    connection.execute(update(_table).where(mine).values(due=now, taken_by=None))


def done(connection: Connection, ids: Sequence[int], me: str) -> int:
    """These were carried out; how many of them were still mine."""
    return connection.execute(delete(_table).where(_table.c.id.in_(ids), _table.c.taken_by == me)).rowcount


def failed(connection: Connection, failures: Sequence[Failure], me: str, now: int) -> None:
    """They were not: try again after a pause, or keep as dead letters so that they can be seen."""
    rows = [
        {
            "number": one.item.id,
            "me": me,
            "tries": one.item.attempts + 1,
            "words": clean(one.error),
            "next": now if one.dead(now) else now + one.pause,
            "dead": int(one.dead(now)),
        }
        for one in failures
    ]
    if rows:
        connection.execute(_FAILED, rows)


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items a postmaster means; what is empty means all."""

    ids: tuple[int, ...] = ()
    channel: str | None = None
    kind: str | None = None
    failed: bool | None = None
    before: int | None = None
    """Only those that were put there before then."""


def ids_of(connection: Connection, chosen: ItemFilter) -> list[int]:
    """The ids of the items that are meant, the oldest first; there can be a million."""
    return list(connection.scalars(select(_table.c.id).where(_meant(chosen)).order_by(_table.c.id)))


def by_size(connection: Connection, ids: Sequence[int]) -> list[list[int]]:
    """A few hundred ids in parts of at most `OCTETS`; one item always fits."""
    sizes = select(_table.c.id, func.length(_table.c.body)).where(_table.c.id.in_(ids))
    size = dict(connection.execute(sizes).all())
    parts, room = list[list[int]](), 0
    for number in ids:
        if not parts or size.get(number, 0) > room:
            parts.append([])
            room = OCTETS
        parts[-1].append(number)
        room -= size.get(number, 0)
    return parts


def read(connection: Connection, ids: Sequence[int], *, bodies: bool = True) -> list[Item]:
    """These items, as far as they are still there; without their bodies, which can be large, these are empty."""
    columns = _COLUMNS if bodies else _WITHOUT_BODY
    query = select(*columns).where(_table.c.id.in_(ids)).order_by(_table.c.id)
    return [Item(*row) for row in connection.execute(query)]


def listed(connection: Connection, chosen: ItemFilter) -> Iterator[Item]:
    """The items that are meant, the oldest first."""
    ids = ids_of(connection, chosen)
    for start in range(0, len(ids), PART):
        yield from read(connection, ids[start : start + PART])


def retry(connection: Connection, ids: Sequence[int], now: int) -> int:
    """Try these again at once, and for three days from now; how many that were.

    What is in hand stays so, and what could not be encoded: it has nothing to be sent.
    """
    in_hand = and_(_table.c.taken_by.is_not(None), _table.c.due > now)  # after that its courier is gone
    free = and_(_table.c.id.in_(ids), ~in_hand, func.length(_table.c.body) > 0)
    values = {"failed": 0, "attempts": 0, "due": now, "give_up": now + GIVE_UP_AFTER, "taken_by": None}
    return connection.execute(update(_table).where(free).values(**values)).rowcount


def drop(connection: Connection, ids: Sequence[int]) -> int:
    """Forget these; how many that were."""
    return connection.execute(delete(_table).where(_table.c.id.in_(ids))).rowcount


def _meant(chosen: ItemFilter) -> Any:
    wanted = [_table.c.id > 0]
    if chosen.ids:
        wanted.append(_table.c.id.in_(chosen.ids))
    if chosen.channel is not None:
        wanted.append(_table.c.channel == chosen.channel)
    if chosen.kind is not None:
        wanted.append(_table.c.kind == chosen.kind)
    if chosen.failed is not None:
        wanted.append(_table.c.failed == int(chosen.failed))
    if chosen.before is not None:
        wanted.append(_table.c.at < chosen.before)
    return and_(*wanted)
