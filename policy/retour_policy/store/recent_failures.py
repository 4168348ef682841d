"""Recent failures: those that count, by the side that they came from, as long as a storm may take them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from retour_policy.clock import MAX_AHEAD_MS
from retour_policy.core.storm import ALL_SIDES, ERASED_SIDE
from retour_policy.store import schema
from retour_policy.store.addresses import Address

_table, _address = schema.recent_failure, schema.address
_INSERT = insert(_table)
_DELETE = delete(_table).where(_table.c.fact_id == bindparam("fact"))


@dataclass(frozen=True, slots=True)
class RecentFailure:
    """A failure of an address at a side that was recorded, and counts; the side of an erased one is empty."""

    fact_id: int
    stream: str
    side: str
    address_id: int
    at: int


def write(connection: Connection, some: Sequence[RecentFailure]) -> None:
    """Write some."""
    if some:
        connection.execute(_INSERT, [asdict(one) for one in some])


def take(
    connection: Connection, stream: str, side: str, since: int, until: int, limit: int
) -> list[tuple[int, Address]]:
    """Remove some failures of a stream at a side, or at all sides, recorded between these times: fact and address.

    Those of erased addresses are at every side.
    """
    query = (
        select(_table.c.fact_id, _address.c.id, _address.c.key)
        .join(_address, _address.c.id == _table.c.address_id)
        .where(_table.c.stream == stream, _table.c.at >= since, _table.c.at < until)
    )
    if side != ALL_SIDES:
        query = query.where(_table.c.side.in_((side, ERASED_SIDE)))
    rows = connection.execute(query.limit(limit)).all()
    if rows:
        remove(connection, [fact for fact, _, _ in rows])
    return [(fact, Address(number, bytes(key))) for fact, number, key in rows]


def remove_old(connection: Connection, before: int, now: int, limit: int) -> int:
    """Remove those recorded before then (milliseconds), or in the future, among the `limit` oldest; how many."""
    oldest = select(_table.c.fact_id, _table.c.at).order_by(_table.c.fact_id).limit(limit)
    old = [fact for fact, at in connection.execute(oldest) if not before <= at <= now + MAX_AHEAD_MS]
    if old:
        remove(connection, old)
    return len(old)


def remove(connection: Connection, facts: Sequence[int]) -> None:
    """Remove some: no storm can take them back any more."""
    connection.execute(_DELETE, [{"fact": fact} for fact in facts])


def erase_side(connection: Connection, address_id: int) -> None:
    """Erase at which side an address was."""
    connection.execute(update(_table).where(_table.c.address_id == address_id).values(side=ERASED_SIDE))
