"""Seen: the table of returned messages that were recorded, so that none is recorded twice."""

from __future__ import annotations

from sqlalchemy import Connection

from retour_policy.store import schema
from retour_policy.store.upsert import ignoring


def add(connection: Connection, send: int | None, digest: bytes, at: int) -> bool:
    """Record that a message with that digest (16 octets) came back to a send, or to none; False if it did before."""
    row = {"send_id": send or 0, "digest": digest, "at": at}
    return connection.execute(ignoring(connection, schema.seen), row).rowcount == 1


def remove(connection: Connection, send: int | None, digest: bytes) -> None:
    """Forget that a message came back."""
    same = (schema.seen.c.send_id == (send or 0)) & (schema.seen.c.digest == digest)
    connection.execute(schema.seen.delete().where(same))
