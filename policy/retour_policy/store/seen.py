"""Seen: the table of returned messages that were recorded, so that none is recorded twice."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, select

from retour_policy.store import schema
from retour_policy.store.upsert import ignoring, ignoring_and_telling

UNMATCHED = -1
"""In the place of a send: the message came back to none, and matched nothing; it may do so later."""


def add(connection: Connection, send: int | None, digest: bytes, at: int) -> bool:
    """Record that a message with that digest (16 octets) came back to a send, or to none; False if it did before."""
    row = {"send_id": send or 0, "digest": digest, "at": at}
    return connection.execute(ignoring(connection, schema.seen), row).rowcount == 1


def add_many(connection: Connection, rows: Sequence[tuple[int, bytes, int]]) -> set[tuple[int, bytes]]:
    """The same for several: send, digest and time. Returns those, as send and digest, that had not come before."""
    values = [{"send_id": send, "digest": digest, "at": at} for send, digest, at in sorted(rows)]
    added = connection.execute(ignoring_and_telling(connection, schema.seen), values)
    return {(send, bytes(digest)) for send, digest in added}


def has(connection: Connection, send: int, digest: bytes) -> bool:
    """Whether a message with that digest came back to that send."""
    return connection.execute(select(schema.seen.c.at).where(*_same(send, digest))).first() is not None


def remove(connection: Connection, send: int | None, digest: bytes) -> bool:
    """Forget that a message came back; False if it was forgotten already."""
    return connection.execute(schema.seen.delete().where(*_same(send, digest))).rowcount == 1


def _same(send: int | None, digest: bytes) -> tuple[ColumnElement[bool], ...]:
    return schema.seen.c.send_id == (send or 0), schema.seen.c.digest == digest
