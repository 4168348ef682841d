"""Forward window: the table that counts how much was forwarded one by one in a while."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from retour_policy.store import schema
from retour_policy.store.upsert import replacing

_table = schema.pace


@dataclass(frozen=True, slots=True)
class ForwardWindow:
    """What was sent one by one since its beginning."""

    since: int
    count: int
    digest_to: int
    """What waits up to this id goes into a digest."""


def read(connection: Connection, name: str, *, lock: bool = False) -> ForwardWindow:
    """The window of that name; with `lock` no other host reads it so before the transaction ends."""
    query = select(_table.c.since, _table.c.count, _table.c.digest_to).where(_table.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return ForwardWindow(*row) if row else ForwardWindow(0, 0, 0)


def write(connection: Connection, name: str, window: ForwardWindow) -> None:
    """Put it in place of the one that is there."""
    values = {"since": window.since, "count": window.count, "digest_to": window.digest_to}
    connection.execute(replacing(connection, _table, tuple(values)), {"name": name} | values)
