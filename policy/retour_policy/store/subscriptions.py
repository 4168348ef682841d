"""Subscriptions: the table of addresses in streams that people can leave; tokens name its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update

from retour_policy.clock import DAY
from retour_policy.store import schema
from retour_policy.store.addresses import Address
from retour_policy.store.upsert import ignoring

RENEWED_AFTER_MS = 30 * DAY
"""How old the time of the latest token may be in the table: not every message writes there."""
MAX_NUMBER_DRAWS = 5  # tries for a free number; with 47 random bits the first one nearly always is
_table = schema.subscription
_OF_ADDRESS = select(_table.c.number, _table.c.at).where(
    _table.c.address_id == bindparam("of"), _table.c.stream == bindparam("in_stream")
)
_FIND = (
    select(_table.c.stream, schema.address.c.id, schema.address.c.key, schema.address.c.text)
    .join(schema.address, schema.address.c.id == _table.c.address_id)
    .where(_table.c.number == bindparam("which"))
)
_RENEW = update(_table).where(_table.c.number == bindparam("which")).values(at=bindparam("now"))


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """An address in a stream."""

    address: Address
    text: str | None
    """The address; None: erased."""
    stream: str


def ensure(connection: Connection, address_id: int, stream: str, now: int, draw: Callable[[], int]) -> int:
    """The number of an address's subscription to a stream, for a token that is made at `now`."""
    names = {"of": address_id, "in_stream": stream}
    for _ in range(MAX_NUMBER_DRAWS):
        found = connection.execute(_OF_ADDRESS, names).first()
        if found is not None:
            if now - found.at > RENEWED_AFTER_MS:
                connection.execute(_RENEW, {"which": found.number, "now": now})
            return int(found.number)
        row = {"number": draw(), "address_id": address_id, "stream": stream, "at": now}
        connection.execute(ignoring(connection, _table), row)
    raise RuntimeError(f"{MAX_NUMBER_DRAWS} numbers drawn, all taken")


def find(connection: Connection, number: int) -> SubscriptionRow | None:
    """The subscription of that number."""
    row = connection.execute(_FIND, {"which": number}).first()
    return SubscriptionRow(Address(row.id, bytes(row.key)), row.text, row.stream) if row else None
