"""Suppressions: the table of addresses that are suppressed, where, why and until when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, or_, select, tuple_

from retour_policy.clock import MAX_AHEAD_MS
from retour_policy.core.suppression import Suppression, strongest
from retour_policy.store import schema
from retour_policy.store.addresses import MAX_PARAMETERS, Address
from retour_policy.store.database import Store
from retour_policy.store.prepared import Prepared
from retour_policy.store.upsert import replacing

MAX_ROWS_READ = 1_000  # in one transaction
_table = schema.suppression
_BY_KEY = Prepared(
    select(_table.c.scope, _table.c.cause, _table.c.since, _table.c.until, _table.c.note, _table.c.tries).where(
        _table.c.address_key == bindparam("key")
    )
)
_BY_KEYS = select(_table).where(_table.c.address_key.in_(bindparam("keys", expanding=True)))
_REMOVE = delete(_table).where(_table.c.address_key == bindparam("key"), _table.c.scope == bindparam("where"))
_CHANGED = ("address_id", "cause", "since", "until", "tries", "fact_id", "note")


def find_in_force(
    connection: Connection, key: bytes, stream: str, now: int, *, transactional: bool
) -> Suppression | None:
    """The suppression in force at `now` for the address with that key in that stream, if any: see `strongest`."""
    rows = _BY_KEY.rows(connection, {"key": key})
    some = (
        Suppression(scope, cause, since, until, note, bool(tries)) for scope, cause, since, until, note, tries in rows
    )
    return _strongest(some, stream, now, transactional=transactional)


def find_all_in_force(
    connection: Connection, keys: Iterable[bytes], stream: str, now: int, *, transactional: bool
) -> dict[bytes, Suppression]:
    """The same for some addresses, by their keys; those that are not suppressed are missing."""
    by_key = read(connection, keys).items()
    found = {key: _strongest(some, stream, now, transactional=transactional) for key, some in by_key}
    return {key: one for key, one in found.items() if one}


def _strongest(some: Iterable[Suppression], stream: str, now: int, *, transactional: bool) -> Suppression | None:
    applying = [one for one in some if one.applies(stream, transactional=transactional)]
    return strongest(sorted(applying, key=lambda one: one.scope), now)


def read(connection: Connection, keys: Iterable[bytes]) -> dict[bytes, list[Suppression]]:
    """All suppressions of some addresses by the addresses' keys, those that have run out included."""
    found: dict[bytes, list[Suppression]] = {}
    wanted = sorted(keys)
    for start in range(0, len(wanted), MAX_PARAMETERS):
        for row in connection.execute(_BY_KEYS, {"keys": wanted[start : start + MAX_PARAMETERS]}):
            found.setdefault(bytes(row.address_key), []).append(_of(row))
    return found


def write(connection: Connection, rows: Sequence[tuple[Address, Suppression]]) -> None:
    """Write suppressions of some addresses, each in the place of the one that its scope has."""
    if rows:
        values = [_row(address, suppression) for address, suppression in rows]
        connection.execute(replacing(connection, _table, _CHANGED), values)


def remove(connection: Connection, rows: Sequence[tuple[Address, str]]) -> None:
    """Remove the suppressions of some addresses in some scopes."""
    if rows:
        connection.execute(_REMOVE, [{"key": address.key, "where": scope} for address, scope in rows])


Addressed = tuple[str | None, Suppression]
"""A suppression with its address; None: erased."""


def read_in_force(
    connection: Connection, now: int, *, key: bytes | None = None, limit: int | None = None
) -> list[Addressed]:
    """Those in force at `now`, the oldest first, at most so many, of all addresses or of one.

    In the order of the index: of several that began at the same time, which are the first is left to chance.
    """
    query = _in_force(now).order_by(_table.c.since, _table.c.address_key, _table.c.scope)
    if key is not None:
        query = query.where(_table.c.address_key == key)
    if limit is not None:
        query = query.limit(limit)
    found = [(row.text, _of(row)) for row in connection.execute(query)]
    return sorted(found, key=lambda one: (one[1].since, one[0] or "", one[1].scope))


def count_in_force(connection: Connection, now: int) -> int:
    """How many are in force at `now`."""
    return connection.scalar(select(func.count()).select_from(_table).where(*_holds(now))) or 0


def iterate_in_force(store: Store, now: int) -> Iterator[Addressed]:
    """Those in force at `now`, whatever their number, each chunk in a transaction of its own."""
    last = (b"", "")
    while True:
        beyond = tuple_(_table.c.address_key, _table.c.scope) > tuple_(*last)
        query = _in_force(now).where(beyond).order_by(_table.c.address_key, _table.c.scope).limit(MAX_ROWS_READ)
        with store.reading() as connection:
            rows = connection.execute(query).all()
        yield from ((row.text, _of(row)) for row in rows)
        if len(rows) < MAX_ROWS_READ:
            return
        last = (bytes(rows[-1].address_key), rows[-1].scope)


def _in_force(now: int) -> Select[Any]:
    return (
        select(_table, schema.address.c.text)
        .join(schema.address, schema.address.c.id == _table.c.address_id)
        .where(*_holds(now))
    )


def _holds(now: int) -> tuple[ColumnElement[bool], ...]:
    return or_(_table.c.until.is_(None), _table.c.until > now), _table.c.since <= now + MAX_AHEAD_MS


def _of(row: Any) -> Suppression:
    return Suppression(row.scope, row.cause, row.since, row.until, row.note, bool(row.tries), row.fact_id)


def _row(address: Address, suppression: Suppression) -> dict[str, Any]:
    return {
        "address_key": address.key,
        "scope": suppression.scope,
        "address_id": address.id,
        "cause": suppression.cause,
        "since": suppression.since,
        "until": suppression.until,
        "tries": int(suppression.tries),
        "fact_id": suppression.fact,
        "note": suppression.note,
    }
