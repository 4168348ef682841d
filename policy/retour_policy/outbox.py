"""Outbox: what must happen outside, written with the decision that asks for it, carried out by the courier."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, insert, select, update

from retour_policy import schema
from retour_policy.clock import HOUR, MINUTE

LEASE = 5 * MINUTE  # how long one courier has for one item before another may take it
PAUSES = (MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 4 * HOUR)  # before the tries that follow; the last one repeats
GIVE_UP_AFTER = 72 * HOUR
_table = schema.outbox


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to do."""

    id: int
    at: int
    kind: str
    target: str
    body: bytes
    attempts: int


def put(connection: Connection, now: int, kind: str, target: str, body: bytes, fact_id: int | None) -> None:
    """Queue an item, due at once."""
    row = {"at": now, "due": now, "kind": kind, "target": target, "body": body, "fact_id": fact_id}
    connection.execute(insert(_table).values(row))


def take(connection: Connection, now: int, most: int) -> list[Item]:
    """Lease at most `most` items that are due, the oldest first. Each goes to one courier at a time."""
    due = and_(_table.c.failed == 0, _table.c.due <= now, _table.c.leased_until <= now)
    wanted = select(_table).where(due).order_by(_table.c.due, _table.c.id).limit(most).with_for_update(skip_locked=True)
    items = [Item(r.id, r.at, r.kind, r.target, bytes(r.body), r.attempts) for r in connection.execute(wanted)]
    if items:
        leased = update(_table).where(_table.c.id.in_([item.id for item in items]))
        connection.execute(leased.values(leased_until=now + LEASE))
    return items


def done(connection: Connection, item: Item) -> None:
    """The item was carried out."""
    connection.execute(delete(_table).where(_table.c.id == item.id))


def failed(connection: Connection, item: Item, now: int, error: str, *, permanent: bool) -> None:
    """It was not: try again after a growing pause, or keep it as failed so that it can be seen."""
    given_up = permanent or now - item.at > GIVE_UP_AFTER
    pause = PAUSES[min(item.attempts, len(PAUSES) - 1)]
    values = {"attempts": item.attempts + 1, "error": error[:500], "leased_until": 0, "due": now + pause}
    connection.execute(update(_table).where(_table.c.id == item.id).values(**values, failed=int(given_up)))
