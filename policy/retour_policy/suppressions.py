"""Suppressions: the addresses that are not to be written to, looked up, added, lifted and listed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, or_, select

from retour_policy import schema
from retour_policy.addresses import insert_into
from retour_policy.clock import day_text

EVERYWHERE = "*"
CAUSES = {
    "hard": "hard bounces",
    "soft": "soft bounces",
    "autoreply": "auto-replies",
    "complaint": "a complaint",
    "unsubscribe": "unsubscribed",
    "operator": "by the postmaster",
}
_table = schema.suppression
_LOOK_UP = (
    select(_table.c.scope, _table.c.cause, _table.c.since, _table.c.until, _table.c.note)
    .where(_table.c.address_key == bindparam("key"), _table.c.scope.in_([EVERYWHERE, bindparam("stream")]))
    .order_by(_table.c.scope)
)


@dataclass(frozen=True, slots=True)
class Suppression:
    """One row: where, why, since and until when (milliseconds; None is for good)."""

    scope: str
    cause: str
    since: int
    until: int | None
    note: str = ""
    address: str | None = None
    """None once it was forgotten."""

    def words(self) -> str:
        """Cause, reason and dates in one line of ASCII, as an SMTP reply and the lists show them."""
        note = f" ({self.note})" if self.note else ""
        until = f", until {day_text(self.until)}" if self.until else ""
        return f"{CAUSES.get(self.cause, self.cause)}{note}, since {day_text(self.since)}{until}"


def look_up(connection: Connection, key: bytes, stream: str, now: int) -> Suppression | None:
    """The suppression in force at `now` for the address with that key in that stream, if any."""
    for scope, cause, since, until, note in connection.execute(_LOOK_UP, {"key": key, "stream": stream}):
        if until is None or until > now:
            return Suppression(scope, cause, since, until, note)
    return None


def put(connection: Connection, key: bytes, address_id: int, new: Suppression, fact_id: int | None) -> None:
    """Add `new`. One that is in force already keeps its date and its cause; one that has run out gives way."""
    row = {
        "address_key": key,
        "address_id": address_id,
        "scope": new.scope,
        "cause": new.cause,
        "since": new.since,
        "until": new.until,
        "note": new.note,
        "fact_id": fact_id,
    }
    changed = {name: row[name] for name in ("cause", "since", "until", "note", "fact_id")}
    connection.execute(
        insert_into(connection, _table)
        .values(row)
        .on_conflict_do_update(index_elements=["address_key", "scope"], set_=changed, where=_table.c.until <= new.since)
    )


def remove(connection: Connection, key: bytes, scope: str | None) -> list[str]:
    """Take away the suppressions of an address, in one scope or (None) in all; the scopes that were taken away."""
    which = _table.c.address_key == key
    if scope is not None:
        which &= _table.c.scope == scope
    scopes = list(connection.scalars(select(_table.c.scope).where(which)))
    connection.execute(delete(_table).where(which))
    return scopes


def listed(connection: Connection, now: int, *, key: bytes | None = None) -> list[Suppression]:
    """Those in force at `now`, the oldest first; of all addresses or of one."""
    query = (
        select(_table, schema.address.c.text)
        .join(schema.address, schema.address.c.id == _table.c.address_id)
        .where(or_(_table.c.until.is_(None), _table.c.until > now))
        .order_by(_table.c.since, schema.address.c.text, _table.c.scope)
    )
    if key is not None:
        query = query.where(_table.c.address_key == key)
    return [Suppression(r.scope, r.cause, r.since, r.until, r.note, r.text) for r in connection.execute(query)]
