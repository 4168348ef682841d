"""Selection of the outbox: items that a postmaster picks by hand, to look at, try again or drop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, func, literal, select, update

from retour_policy.store import schema
from retour_policy.store.outbox import COLUMNS, Item

_table = schema.outbox
_WITHOUT_BODY = [literal(b"") if one is _table.c.body else one for one in COLUMNS]


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items a postmaster selects; an empty field selects all."""

    ids: tuple[int, ...] = ()
    channel: str | None = None
    kind: str | None = None
    failed: bool | None = None
    before: int | None = None
    """Only those that were queued before then."""


def read_ids(connection: Connection, wanted: ItemFilter) -> list[int]:
    """The ids of the selected items, the oldest first; there can be a million."""
    return list(connection.scalars(select(_table.c.id).where(_condition(wanted)).order_by(_table.c.id)))


def read(connection: Connection, ids: Sequence[int], *, bodies: bool = True) -> list[Item]:
    """Those of these items that still exist; their bodies, which can be large, are left empty."""
    columns = COLUMNS if bodies else _WITHOUT_BODY
    query = select(*columns).where(_table.c.id.in_(ids)).order_by(_table.c.id)
    return [Item(*row) for row in connection.execute(query)]


def retry(connection: Connection, ids: Sequence[int], now: int, give_up: int) -> int:
    """Make these due at `now`, as if they had never been tried, until `give_up`; how many that were.

    Leased items stay as they are, and so do events that could not be encoded: there is nothing to send.
    """
    leased = and_(_table.c.taken_by.is_not(None), _table.c.due > now)  # after that its courier has died
    free = and_(_table.c.id.in_(ids), ~leased, func.length(_table.c.body) > 0)
    values = {"failed": 0, "attempts": 0, "due": now, "give_up": give_up, "taken_by": None}
    return connection.execute(update(_table).where(free).values(**values)).rowcount


def drop(connection: Connection, ids: Sequence[int]) -> int:
    """Remove these, leased or not; how many that were."""
    return connection.execute(delete(_table).where(_table.c.id.in_(ids))).rowcount


def _condition(wanted: ItemFilter) -> Any:
    conditions = [_table.c.id > 0]
    if wanted.ids:
        conditions.append(_table.c.id.in_(wanted.ids))
    if wanted.channel is not None:
        conditions.append(_table.c.channel == wanted.channel)
    if wanted.kind is not None:
        conditions.append(_table.c.kind == wanted.kind)
    if wanted.failed is not None:
        conditions.append(_table.c.failed == int(wanted.failed))
    if wanted.before is not None:
        conditions.append(_table.c.at < wanted.before)
    return and_(*conditions)
