"""Outbox: the table of work outside the database: written, leased to a courier, and removed when it is done."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

from sqlalchemy import Connection, String, and_, bindparam, cast, delete, exists, func, insert, select, update

from retour_policy.sanitize import clean
from retour_policy.store import schema

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
    """Empty: a new one is generated."""
    ordering: int | None = None
    due: int | None = None
    """Not before; None: at once."""
    fact_id: int | None = None
    error: str = ""
    """Why it is a dead letter from the beginning: it cannot be done."""


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


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """What is written about an item whose attempt failed."""

    id: int
    attempts: int
    """How many attempts there were, this one included."""
    error: str
    due: int
    """When the next one is; of a dead letter: when it became one."""
    dead: bool
    """There is no next attempt."""


COLUMNS = [_table.c[one.name] for one in fields(Item)]
"""The columns of an `Item`, in its order."""
# As an expression: else SQLite would search an index for all that wait instead of using the ids that it is given.
IS_WAITING = func.coalesce(_table.c.failed, 0) == 0
_number = attrgetter("id")

_earlier = _table.alias()
_IN_FRONT = exists().where(
    _earlier.c.channel == _table.c.channel,
    _earlier.c.ordering == _table.c.ordering,
    _earlier.c.failed == 0,
    _earlier.c.id < _table.c.id,
)
# Due, and first in its order: an item that is leased or waits for another try holds up those after it.
_READY = and_(_table.c.due <= bindparam("now"), ~_IN_FRONT)
# Built once, so that SQLAlchemy compiles each only once.
_LONGEST_DUE = (
    select(_table.c.id)
    .where(_table.c.failed == 0, _table.c.channel == bindparam("of"), _READY)
    .order_by(_table.c.due, _table.c.id)
    .limit(bindparam("most"))
    .subquery()
)
_DUE = select(func.aggregate_strings(cast(_LONGEST_DUE.c.id, String), ","))  # one row: each fetch releases the GIL
_FREE = (
    select(_table.c.id)
    .where(_table.c.id.in_(bindparam("ids", expanding=True)), IS_WAITING, _READY)
    .with_for_update(skip_locked=True)
    .cte("free")
)
_TAKE = (
    update(_table)
    .where(_table.c.id.in_(select(_FREE.c.id)))
    .values(due=bindparam("until"), taken_by=bindparam("me"))
    .returning(*COLUMNS)
)
_FAIL = (
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


def write(connection: Connection, new: NewItem, due: int, give_up: int) -> int:
    """Write an item that is due at `due`, and whose last failure is the first one after `give_up`; its id."""
    row = {
        "uid": new.uid or secrets.token_hex(16),
        "at": new.at,
        "kind": new.kind,
        "channel": new.channel,
        "ordering": new.ordering,
        "due": due,
        "give_up": give_up,
        "failed": int(bool(new.error)),
        "error": clean(new.error),
        "fact_id": new.fact_id,
        "target": new.target,
        "body": new.body,
    }
    written = connection.execute(_INSERT, row).inserted_primary_key
    return int(written[0]) if written else 0


def read_due_ids(connection: Connection, channel: str, now: int, limit: int) -> list[int]:
    """What could be taken now, the longest due first."""
    found = connection.scalar(_DUE, {"of": channel, "now": now, "most": limit})
    return [int(number) for number in found.split(",")] if found else []


def has_due(connection: Connection, channel: str, now: int, last: int) -> bool:
    """Whether anything of a channel is due that has no higher id than `last`."""
    waiting = and_(_table.c.failed == 0, _table.c.channel == channel, _table.c.due <= now)
    return connection.scalar(select(_table.c.id).where(waiting, _table.c.id <= last).limit(1)) is not None


def count_due(connection: Connection, channel: str, now: int) -> tuple[int, int]:
    """How much of a channel is due, and the highest id of that; 0 where there is none."""
    waiting = and_(_table.c.failed == 0, _table.c.channel == channel, _table.c.due <= now)
    count, last = connection.execute(select(func.count(), func.max(_table.c.id)).where(waiting)).one()
    return count, last or 0


def read_sizes(connection: Connection, ids: Sequence[int]) -> dict[int, int]:
    """The octets of the bodies of a few hundred items, by id."""
    sizes = select(_table.c.id, func.length(_table.c.body)).where(_table.c.id.in_(ids))
    return dict(connection.execute(sizes).all())


def take(connection: Connection, ids: Iterable[int], me: str, now: int, until: int) -> list[Item]:
    """Lease those of `ids` that are still free, until `until`. Each is leased to one courier at a time."""
    values = {"ids": list(ids), "now": now, "me": me, "until": until}
    return sorted([Item(*row) for row in connection.execute(_TAKE, values).all()], key=_number)


def renew(connection: Connection, ids: Iterable[int], me: str, until: int) -> set[int]:
    """Extend the leases until `until`; the ids of those that are still mine."""
    mine = and_(_table.c.id.in_(list(ids)), _table.c.taken_by == me)
    connection.execute(update(_table).where(mine).values(due=until))
    return set(connection.scalars(select(_table.c.id).where(mine)))


def release(connection: Connection, ids: Iterable[int], me: str, now: int) -> None:
    """Release items that were not begun."""
    mine = and_(_table.c.id.in_(list(ids)), _table.c.taken_by == me)
    connection.execute(update(_table).where(mine).values(due=now, taken_by=None))


def finish(connection: Connection, ids: Sequence[int], me: str) -> int:
    """Remove what was carried out; how many of them were still mine."""
    return connection.execute(delete(_table).where(_table.c.id.in_(ids), _table.c.taken_by == me)).rowcount


def fail(connection: Connection, attempts: Sequence[FailedAttempt], me: str) -> None:
    """Write that these attempts failed, for items that are still mine, and release them."""
    rows = [
        {
            "number": one.id,
            "me": me,
            "tries": one.attempts,
            "words": clean(one.error),
            "next": one.due,
            "dead": int(one.dead),
        }
        for one in attempts
    ]
    if rows:
        connection.execute(_FAIL, rows)
