"""Subscriptions: the table of addresses in streams that people can leave; tokens name its rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update

from retour_policy.clock import DAY
from retour_policy.store import schema
from retour_policy.store.addresses import MAX_PARAMETERS, Address
from retour_policy.store.upsert import ignoring

RENEWED_AFTER_MS = 30 * DAY
"""How old the time of the latest token may be in the table: not every message writes there."""
MAX_NUMBER_DRAWS = 5  # tries for a free number; with 47 random bits the first one nearly always is
_table = schema.subscription
_OF_ADDRESSES = select(_table).where(_table.c.address_id.in_(bindparam("to", expanding=True)))
_FIND = (
    select(_table.c.stream, schema.address.c.id, schema.address.c.key, schema.address.c.text)
    .join(schema.address, schema.address.c.id == _table.c.address_id)
    .where(_table.c.number == bindparam("which"))
)
_RENEW = update(_table).where(_table.c.number == bindparam("which")).values(at=bindparam("now"))


Subscriber = tuple[int, str]
"""An address's number, and the stream that it gets."""


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """An address in a stream."""

    address: Address
    text: str | None
    """The address; None: erased."""
    stream: str


def ensure(
    connection: Connection, wanted: Collection[Subscriber], now: int, draw: Callable[[], int]
) -> dict[Subscriber, int]:
    """The numbers of the subscriptions of some addresses to streams, for tokens that are made at `now`.

    Each statement is executed once for all, but for numbers that are taken.
    """
    found: dict[Subscriber, int] = {}
    missing = sorted(wanted)
    for _ in range(MAX_NUMBER_DRAWS):
        found |= _read(connection, missing, now)
        missing = [one for one in missing if one not in found]
        if not missing:
            return found
        rows = [{"number": draw(), "address_id": to, "stream": stream, "at": now} for to, stream in missing]
        connection.execute(ignoring(connection, _table), rows)
    raise RuntimeError(f"{MAX_NUMBER_DRAWS} numbers drawn, all taken")


def _read(connection: Connection, wanted: Sequence[Subscriber], now: int) -> dict[Subscriber, int]:
    """The numbers of those that there are; the time of the latest token is renewed."""
    found: dict[Subscriber, int] = {}
    for start in range(0, len(wanted), MAX_PARAMETERS):
        some = set(wanted[start : start + MAX_PARAMETERS])
        rows = connection.execute(_OF_ADDRESSES, {"to": sorted({to for to, _ in some})}).all()
        there = [row for row in rows if (row.address_id, row.stream) in some]
        old = [{"which": row.number, "now": now} for row in there if now - row.at > RENEWED_AFTER_MS]
        if old:
            connection.execute(_RENEW, old)
        found |= {(row.address_id, row.stream): row.number for row in there}
    return found


def find(connection: Connection, number: int) -> SubscriptionRow | None:
    """The subscription of that number."""
    row = connection.execute(_FIND, {"which": number}).first()
    return SubscriptionRow(Address(row.id, bytes(row.key)), row.text, row.stream) if row else None
