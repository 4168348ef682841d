"""Counters: the last number that a table has given out, also where its row is gone."""

from __future__ import annotations

from sqlalchemy import Connection, Table, func, select, text

_READ = {
    "sqlite": text("SELECT seq FROM sqlite_sequence WHERE name = :name"),
    "postgresql": text("SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence(:name, 'id') AS regclass))"),
}
_HAS_COUNTER = text("SELECT pg_get_serial_sequence(:name, 'id')")
_WRITE = {
    "sqlite": text("UPDATE sqlite_sequence SET seq = max(seq, :last) WHERE name = :name"),
    "postgresql": text("SELECT setval(CAST(pg_get_serial_sequence(:name, 'id') AS regclass), :last)"),
}
_BEGIN_SQLITE = text("INSERT INTO sqlite_sequence (name, seq) SELECT :name, 0 WHERE NOT EXISTS"
                     " (SELECT 1 FROM sqlite_sequence WHERE name = :name)")  # fmt: skip


def is_counted(table: Table) -> bool:
    """Whether the database numbers the rows of a table."""
    return table.autoincrement_column is not None


def read_last(connection: Connection, table: Table) -> int:
    """The last number given out, or the highest that there is; 0: none."""
    highest = connection.scalar(select(func.max(table.c.id))) or 0
    return max(highest, connection.scalar(_READ[connection.dialect.name], {"name": table.name}) or 0)


def write_last(connection: Connection, table: Table, last: int) -> None:
    """Go on after that number. SQLite remembers it only of tables whose numbers are never used again."""
    if not last:
        return
    if connection.dialect.name == "sqlite":
        if not table.dialect_options["sqlite"].get("autoincrement"):
            return
        connection.execute(_BEGIN_SQLITE, {"name": table.name})
    connection.execute(_WRITE[connection.dialect.name], {"name": table.name, "last": last})
