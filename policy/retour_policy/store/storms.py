"""Storms: the tables of storms, and of the counters of sends and failures by which they are detected."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    update,
)

from retour_policy.clock import MAX_AHEAD_MS
from retour_policy.core.storm import ALL_SIDES, SILENCE_MS, Figures
from retour_policy.store import schema
from retour_policy.store.upsert import adding, ignoring

Place = tuple[str, str]
"""A stream and a side."""
_table, _counter = schema.storm, schema.storm_counter
COUNTED = ("sent", "failed", "late", "refused", "told")
_SUMS = [func.sum(_counter.c[name]).label(name) for name in COUNTED]
_COUNTED_HERE = (
    _counter.c.stream == bindparam("stream"),
    _counter.c.side == bindparam("side"),
    _counter.c.bucket >= bindparam("since"),
    _counter.c.bucket < bindparam("before"),
)
_FIGURES = select(*_SUMS).where(*_COUNTED_HERE)
_LATEST = select(_table.c.id, _table.c.stream, _table.c.side, _table.c.closed).where(
    _table.c.stream.in_(bindparam("streams", expanding=True)),
    _table.c.side.in_(bindparam("sides", expanding=True)),
    or_(_table.c.closed.is_(None), _table.c.closed > bindparam("since")),
)
_FIGURES_OF = (
    select(_counter.c.stream, _counter.c.side, *_SUMS)
    .where(
        _counter.c.stream.in_(bindparam("streams", expanding=True)),
        _counter.c.side.in_(bindparam("sides", expanding=True)),
        _counter.c.bucket >= bindparam("since"),
        _counter.c.bucket < bindparam("before"),
    )
    .group_by(_counter.c.stream, _counter.c.side)
)


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


@dataclass(frozen=True, slots=True)
class Latest:
    """The latest storm of a stream at a side."""

    closed: int = 0
    """When the last one closed; 0 if none did lately."""
    open: int | None = None
    """The number of the one that is open."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What is added to the counters of a stream at a side, of the five minutes `bucket`."""

    stream: str
    side: str
    bucket: int
    sent: int = 0
    failed: int = 0
    late: int = 0
    refused: int = 0
    told: int = 0


def count(connection: Connection, counted: Iterable[Counted]) -> None:
    """Add to counters."""
    connection.execute(adding(connection, _counter, COUNTED), [_row(one) for one in counted])


def _row(one: Counted) -> dict[str, object]:
    return {name: getattr(one, name) for name in Counted.__slots__} | {"writer": _writer()}


@cache
def _writer() -> str:
    """This process, among all that count: each has rows of its own, to avoid contention on one row."""
    return f"{socket.gethostname()[:20]}-{os.getpid()}-{secrets.token_hex(3)}"


def read_figures(connection: Connection, stream: str, side: str, since: int, before: int) -> Figures:
    """What was counted of a stream at a side, in the bucket `since` and later ones, and before the bucket `before`."""
    values = {"stream": stream, "side": side, "since": since, "before": before}
    return _figures(connection.execute(_FIGURES, values).one())


def read_all_figures(
    connection: Connection, places: Collection[Place], since: int, before: int
) -> dict[Place, Figures]:
    """The same at some places, in one statement; those where nothing was counted are missing."""
    rows = connection.execute(_FIGURES_OF, _names(places) | {"since": since, "before": before})
    return {(row.stream, row.side): _figures(row) for row in rows}


def _names(places: Collection[Place]) -> dict[str, Any]:
    streams, sides = zip(*places, strict=True)
    return {"streams": sorted(set(streams)), "sides": sorted(set(sides))}


def _figures(row: Any) -> Figures:
    return Figures(*(int(getattr(row, name) or 0) for name in COUNTED))


def count_sides(connection: Connection, stream: str, since: int, before: int) -> tuple[int, int]:
    """To how many sides a stream was sent since then, and at how many of them at least half failed."""
    sent, failed = func.sum(_counter.c.sent), func.sum(_counter.c.failed + _counter.c.late)
    one = select(sent.label("sent"), failed.label("failed")).where(
        _counter.c.stream == stream,
        _counter.c.side != ALL_SIDES,
        _counter.c.bucket >= since,
        _counter.c.bucket < before,
    )
    side = one.group_by(_counter.c.side).subquery().c
    failing = case((and_(side.failed > 0, side.failed * 2 >= side.sent), 1), else_=0)
    sides, failed_sides = connection.execute(select(func.count(), func.sum(failing)).select_from(side.sent.table)).one()
    return int(sides), int(failed_sides or 0)


def read_stream_figures(connection: Connection, since: int) -> dict[str, Figures]:
    """What was counted in the bucket `since` and later ones at all sides, by stream."""
    query = select(_counter.c.stream, *_SUMS).where(_counter.c.bucket >= since, _counter.c.side != ALL_SIDES)
    rows = connection.execute(query.group_by(_counter.c.stream).order_by(_counter.c.stream))
    return {row.stream: _figures(row) for row in rows}


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


def add(connection: Connection, stream: str, side: str, now: int, figures: Figures) -> bool:
    """Open a storm at `now`; False if one is open there already."""
    row = {
        "stream": stream,
        "side": side,
        "opened": now,
        "sent": figures.sent,
        "failed": figures.failures,
        "due": now,
    }
    return connection.execute(ignoring(connection, _table), row).rowcount == 1


def find(connection: Connection, number: int) -> Storm | None:
    """The storm of that number."""
    row = connection.execute(select(_table).where(_table.c.id == number)).first()
    return _storm(row) if row else None


def read_latest(connection: Connection, places: Collection[Place], since: int) -> dict[Place, Latest]:
    """The storms at some places that are open or closed after `since`; places without one are missing."""
    found: dict[Place, Latest] = {}
    for number, stream, side, closed in connection.execute(_LATEST, _names(places) | {"since": since}):
        before = found.get((stream, side), Latest())
        newer = Latest(before.closed, number) if closed is None else Latest(max(before.closed, closed), before.open)
        found[stream, side] = newer
    return found


def find_open_anywhere(connection: Connection, stream: str) -> int | None:
    """A storm that is open of a stream at any side: the latest."""
    here = and_(_table.c.stream == stream, _table.c.closed.is_(None))
    return connection.scalar(select(_table.c.id).where(here).order_by(_table.c.id.desc()).limit(1))


def read(connection: Connection, *, only_open: bool = False) -> list[Storm]:
    """All storms, the oldest first."""
    query = select(_table).order_by(_table.c.id)
    if only_open:
        query = query.where(_table.c.closed.is_(None))
    return [_storm(row) for row in connection.execute(query)]


def lock_due(connection: Connection, now: int) -> Storm | None:
    """The open storm that has been due for longest, its row locked until the transaction ends; None if none is."""
    due = select(_table).where(_table.c.closed.is_(None), _table.c.due <= now).order_by(_table.c.due, _table.c.id)
    row = connection.execute(due.limit(1).with_for_update(skip_locked=True)).first()
    return _storm(row) if row else None


def is_ahead(now: int) -> ColumnElement[bool]:
    """Whether a time of a storm is in the future, or it is to be looked at later than any storm is."""
    times = (_table.c.opened, _table.c.closed, _table.c.calm_since)
    late = and_(_table.c.closed.is_(None), _table.c.due > now + SILENCE_MS + MAX_AHEAD_MS)
    return or_(*(time > now + MAX_AHEAD_MS for time in times), late)


def read_ahead(connection: Connection, now: int) -> list[Storm]:
    """The storms that a clock which was ahead has opened, found calm, or closed."""
    query = select(_table).where(is_ahead(now)).order_by(_table.c.id)
    return [_storm(row) for row in connection.execute(query)]


def bring_back(connection: Connection, storm: Storm, now: int) -> None:
    """Write `now` for all of a storm's times that are later."""
    values = {name: min(at, now) for name in ("opened", "closed", "calm_since") if (at := getattr(storm, name))}
    connection.execute(update(_table).where(_table.c.id == storm.id).values(**values, due=now))


def write_due(connection: Connection, number: int, at: int) -> None:
    """Write when the storm is looked at next."""
    connection.execute(update(_table).where(_table.c.id == number).values(due=at))


def write_calm_since(connection: Connection, number: int, at: int | None) -> None:
    """Write since when it has been calm; None: it is not."""
    connection.execute(update(_table).where(_table.c.id == number).values(calm_since=at))


def close(connection: Connection, number: int, at: int) -> None:
    """Write when the storm ended."""
    connection.execute(update(_table).where(_table.c.id == number).values(closed=at))


def _storm(row: Row[tuple[object, ...]]) -> Storm:
    return Storm(**{field.name: getattr(row, field.name) for field in fields(Storm)})
