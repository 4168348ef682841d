"""Storms: the tables of storms, and of the counters of sends and failures by which they are detected."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache

from sqlalchemy import Connection, Row, and_, bindparam, delete, func, or_, select, update

from retour_policy.clock import MAX_AHEAD_MS
from retour_policy.core.storm import Figures
from retour_policy.store import schema
from retour_policy.store.upsert import adding, ignoring

_table, _counter = schema.storm, schema.storm_counter


@dataclass(frozen=True, slots=True)
class Storm:
    """One storm."""

    id: int
    stream: str
    side: str
    opened: int
    closed: int | None
    calm_since: int | None
    sent: int
    failed: int
    """The counts when it opened."""
    last_fact: int
    """Failures up to this fact were recorded before the storm was known."""
    taken_to: int
    """And are held up to this one."""


def count(connection: Connection, stream: str, side: str, bucket: int, *, sent: int = 0, failed: int = 0) -> None:
    """Add to the counters of sends and failures of a stream at a side, of mail sent in the five minutes `bucket`."""
    row = {"stream": stream, "side": side, "bucket": bucket, "writer": _writer(), "sent": sent, "failed": failed}
    connection.execute(adding(connection, _counter, ("sent", "failed")), row)


@cache
def _writer() -> str:
    """This process, among all that count: each has rows of its own, to avoid contention on one row."""
    return f"{socket.gethostname()[:20]}-{os.getpid()}-{secrets.token_hex(3)}"


def read_figures(connection: Connection, stream: str, side: str, since: int, now: int) -> Figures:
    """What was counted of a stream at a side, of mail sent in the bucket `since` and later ones, but not in the future.

    There are such buckets if the clock was ahead for a while.
    """
    query = select(func.sum(_counter.c.sent), func.sum(_counter.c.failed)).where(
        _counter.c.stream == stream,
        _counter.c.side == side,
        _counter.c.bucket >= since,
        _counter.c.bucket <= now + MAX_AHEAD_MS,
    )
    sent, failed = connection.execute(query).one()
    return Figures(int(sent or 0), int(failed or 0))


def remove_counters(connection: Connection, before: int, now: int, limit: int) -> int:
    """Remove at most `limit` of the counters of mail sent before then (milliseconds), or in the future; how many."""
    key = list(_counter.primary_key)
    useless = or_(_counter.c.bucket < before, _counter.c.bucket > now + MAX_AHEAD_MS)
    rows = connection.execute(select(*key).where(useless).limit(limit)).all()
    if rows:
        here = and_(*(column == bindparam(f"the_{column.name}") for column in key))
        old = [{f"the_{name}": value for name, value in row._mapping.items()} for row in rows]
        connection.execute(delete(_counter).where(here), old)
    return len(rows)


def add(
    connection: Connection, stream: str, side: str, now: int, figures: Figures, last_fact: int, taken_to: int
) -> bool:
    """Open a storm at `now`; False if one is open there already."""
    row = {
        "stream": stream,
        "side": side,
        "opened": now,
        "sent": figures.sent,
        "failed": figures.failed,
        "last_fact": last_fact,
        "taken_to": taken_to,
    }
    return connection.execute(ignoring(connection, _table), row).rowcount == 1


def find(connection: Connection, number: int) -> Storm | None:
    """The storm of that number."""
    row = connection.execute(select(_table).where(_table.c.id == number)).first()
    return _storm(row) if row else None


def find_open(connection: Connection, stream: str, side: str) -> int | None:
    """The storm that is open of a stream at a side."""
    here = and_(_table.c.stream == stream, _table.c.side == side, _table.c.closed.is_(None))
    return connection.scalar(select(_table.c.id).where(here).limit(1))


def find_open_anywhere(connection: Connection, stream: str) -> int | None:
    """A storm that is open of a stream at any side: the latest."""
    here = and_(_table.c.stream == stream, _table.c.closed.is_(None))
    return connection.scalar(select(_table.c.id).where(here).order_by(_table.c.id.desc()).limit(1))


def find_last_closed(connection: Connection, stream: str, side: str) -> int:
    """When the last storm of a stream at a side closed; 0 where none did."""
    here = and_(_table.c.stream == stream, _table.c.side == side)
    return connection.scalar(select(func.max(_table.c.closed)).where(here)) or 0


def read(connection: Connection, *, only_open: bool = False) -> list[Storm]:
    """All storms, the oldest first."""
    query = select(_table).order_by(_table.c.id)
    if only_open:
        query = query.where(_table.c.closed.is_(None))
    return [_storm(row) for row in connection.execute(query)]


def read_closed_times(connection: Connection, numbers: Iterable[int]) -> dict[int, int | None]:
    """When storms closed, by their numbers; None for those that are open."""
    return dict(connection.execute(select(_table.c.id, _table.c.closed).where(_table.c.id.in_(sorted(numbers)))).all())


def read_ahead(connection: Connection, now: int) -> list[Storm]:
    """The storms that a clock which was ahead has opened, found calm, or closed."""
    times = (_table.c.opened, _table.c.closed, _table.c.calm_since)
    query = select(_table).where(or_(*(time > now + MAX_AHEAD_MS for time in times))).order_by(_table.c.id)
    return [_storm(row) for row in connection.execute(query)]


def bring_back(connection: Connection, storm: Storm, now: int) -> None:
    """Write `now` for all of a storm's times that are later."""
    values = {name: min(at, now) for name in ("opened", "closed", "calm_since") if (at := getattr(storm, name))}
    connection.execute(update(_table).where(_table.c.id == storm.id).values(**values))


def lock_open(connection: Connection) -> list[Storm]:
    """The storms that are open, their rows locked until the transaction ends."""
    return [
        _storm(row) for row in connection.execute(select(_table).where(_table.c.closed.is_(None)).with_for_update())
    ]


def write_taken_to(connection: Connection, number: int, fact: int) -> None:
    """Write up to which fact the failures from before the storm was known are held."""
    connection.execute(update(_table).where(_table.c.id == number).values(taken_to=fact))


def write_calm_since(connection: Connection, number: int, at: int | None) -> None:
    """Write since when it has been calm; None: it is not."""
    connection.execute(update(_table).where(_table.c.id == number).values(calm_since=at))


def close(connection: Connection, number: int, at: int) -> None:
    """Write when the storm ended."""
    connection.execute(update(_table).where(_table.c.id == number).values(closed=at))


def _storm(row: Row[tuple[object, ...]]) -> Storm:
    return Storm(**{field.name: getattr(row, field.name) for field in fields(Storm)})
