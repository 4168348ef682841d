"""Unread: the table of what is kept of reports that could not be read or recorded."""

from __future__ import annotations

from sqlalchemy import Connection

from retour_policy.store import schema


def write(connection: Connection, fact_id: int, head: bytes) -> None:
    """Keep the first octets of the report that a fact of kind "unread" is about."""
    connection.execute(schema.unread.insert().values(fact_id=fact_id, head=head))
