"""Unsubscribe counters: how many have left a stream within minutes of the send, by receiving side and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select

from retour_policy.store import schema
from retour_policy.store.upsert import adding

_table = schema.unsubscribe_counter
_IN_WINDOW = select(func.coalesce(func.sum(_table.c.unsubscribed), 0), func.coalesce(func.sum(_table.c.told), 0)).where(
    _table.c.stream == bindparam("in_stream"),
    _table.c.side == bindparam("at_side"),
    _table.c.bucket >= bindparam("since"),
)
_TOLD = (
    select(_table.c.stream, _table.c.side, func.sum(_table.c.unsubscribed).label("unsubscribed"))
    .where(_table.c.bucket >= bindparam("since"))
    .group_by(_table.c.stream, _table.c.side)
    .having(func.sum(_table.c.told) > 0)
    .order_by(_table.c.stream, _table.c.side)
)


@dataclass(frozen=True, slots=True)
class UnsubscribeBurst:
    """A side at which many left a stream at once."""

    stream: str
    side: str
    unsubscribed: int


def count(connection: Connection, stream: str, side: str, bucket: int, *, told: bool = False) -> None:
    """Add one who left, or that it was told."""
    row = {"stream": stream, "side": side, "bucket": bucket, "unsubscribed": int(not told), "told": int(told)}
    connection.execute(adding(connection, _table, ("unsubscribed", "told")), row)


def read(connection: Connection, stream: str, side: str, since: int) -> tuple[int, bool]:
    """How many have left from that bucket on, and whether that was told already."""
    values = {"in_stream": stream, "at_side": side, "since": since}
    unsubscribed, told = connection.execute(_IN_WINDOW, values).one()
    return int(unsubscribed), bool(told)


def read_told(connection: Connection, since: int) -> Sequence[UnsubscribeBurst]:
    """The bursts that were told from that bucket on."""
    rows = connection.execute(_TOLD, {"since": since})
    return [UnsubscribeBurst(row.stream, row.side, int(row.unsubscribed)) for row in rows]
