"""Contents: whether anything has happened in a database since it was made."""

from __future__ import annotations

from sqlalchemy import Connection, select

from retour_policy.store import schema


def is_untouched(connection: Connection) -> bool:
    """Whether no table has a row but the mark of the key ring, which is there from the beginning."""
    tables = (table for table in schema.metadata.sorted_tables if table is not schema.key_ring)
    return all(connection.execute(select(1).select_from(table).limit(1)).first() is None for table in tables)
