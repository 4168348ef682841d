"""Suppressions: the table of addresses that are not to be written to, looked up and listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, or_, select, tuple_

from retour_policy.core.decide import BULK, EVERYWHERE
from retour_policy.core.suppression import Suppression
from retour_policy.store import schema
from retour_policy.store.database import Store

CHUNK = 1_000  # rows read in one transaction
_table = schema.suppression
_LOOK_UP = (
    select(_table.c.scope, _table.c.cause, _table.c.since, _table.c.until, _table.c.note, _table.c.tries)
    .where(
        _table.c.address_key == bindparam("key"),
        _table.c.scope.in_([EVERYWHERE, bindparam("bulk"), bindparam("stream")]),
    )
    .order_by(_table.c.scope)
)
_BY_KEYS = select(_table).where(_table.c.address_key.in_(bindparam("keys", expanding=True)))


def look_up(connection: Connection, key: bytes, stream: str, now: int, *, transactional: bool) -> Suppression | None:
    """The suppression in force at `now` for the address with that key in that stream, if any."""
    names = {"key": key, "stream": stream, "bulk": EVERYWHERE if transactional else BULK}
    for scope, cause, since, until, note, tries in connection.execute(_LOOK_UP, names):
        if until is None or until > now:
            return Suppression(scope, cause, since, until, note, bool(tries))
    return None


def of_addresses(connection: Connection, keys: Iterable[bytes]) -> dict[bytes, list[Suppression]]:
    """All rows of some addresses, those that have run out included."""
    found: dict[bytes, list[Suppression]] = {}
    for row in connection.execute(_BY_KEYS, {"keys": sorted(keys)}):
        found.setdefault(bytes(row.address_key), []).append(_of(row))
    return found


def applies(one: Suppression, stream: str, *, transactional: bool) -> bool:
    """Whether a suppression is about mail of that stream."""
    return one.scope in (EVERYWHERE, stream) or (one.scope == BULK and not transactional)


Listed = list[tuple[str | None, Suppression]]
"""Suppressions with their addresses; None: forgotten."""


def listed(connection: Connection, now: int, *, key: bytes | None = None, limit: int | None = None) -> Listed:
    """Those in force at `now`, the oldest first, at most so many, of all addresses or of one."""
    query = _in_force(now).order_by(_table.c.since, schema.address.c.text, _table.c.scope)
    if key is not None:
        query = query.where(_table.c.address_key == key)
    if limit is not None:
        query = query.limit(limit)
    return [(row.text, _of(row)) for row in connection.execute(query)]


def number(connection: Connection, now: int) -> int:
    """How many are in force at `now`."""
    return connection.scalar(select(func.count()).select_from(_in_force(now).subquery())) or 0


def all_listed(store: Store, now: int) -> Iterator[tuple[str | None, Suppression]]:
    """Those in force at `now`, whatever their number, each chunk in a transaction of its own."""
    last = (b"", "")
    while True:
        beyond = tuple_(_table.c.address_key, _table.c.scope) > tuple_(*last)
        query = _in_force(now).where(beyond).order_by(_table.c.address_key, _table.c.scope).limit(CHUNK)
        with store.reading() as connection:
            rows = connection.execute(query).all()
        yield from ((row.text, _of(row)) for row in rows)
        if len(rows) < CHUNK:
            return
        last = (bytes(rows[-1].address_key), rows[-1].scope)


def _in_force(now: int) -> Select[Any]:
    return (
        select(_table, schema.address.c.text)
        .join(schema.address, schema.address.c.id == _table.c.address_id)
        .where(or_(_table.c.until.is_(None), _table.c.until > now))
    )


def _of(row: Any) -> Suppression:
    return Suppression(row.scope, row.cause, row.since, row.until, row.note, bool(row.tries), row.fact_id)
