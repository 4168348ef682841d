"""Counters: the last number that a table has given out, also where its row is gone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Connection, Table, func, select, text

_SEQUENCE = "CAST(pg_get_serial_sequence(:name, :key) AS regclass)"
_READ = {
    "sqlite": text("SELECT seq FROM sqlite_sequence WHERE name = :name"),
    "postgresql": text(f"SELECT pg_sequence_last_value({_SEQUENCE})"),
}
_WRITE = {
    "sqlite": text("UPDATE sqlite_sequence SET seq = max(seq, :last) WHERE name = :name"),
    "postgresql": text(f"SELECT setval({_SEQUENCE}, :last)"),
}
_BEGIN_SQLITE = text(
    "INSERT INTO sqlite_sequence (name, seq) SELECT :name, 0 WHERE NOT EXISTS"
    " (SELECT 1 FROM sqlite_sequence WHERE name = :name)"
)


def is_counted(table: Table) -> bool:
    """Whether the database numbers the rows of a table."""
    return table.autoincrement_column is not None


def read_last(connection: Connection, table: Table) -> int:
    """The last number given out, or the highest that there is; 0: none."""
    highest = connection.scalar(select(func.max(_key(table)))) or 0
    return max(highest, connection.scalar(_READ[connection.dialect.name], _names(connection, table)) or 0)


def write_last(connection: Connection, table: Table, last: int) -> None:
    """Go on after that number. SQLite remembers it only of tables whose numbers are never used again."""
    if not last:
        return
    if connection.dialect.name == "sqlite":
        if not table.dialect_options["sqlite"].get("autoincrement"):
            return
        connection.execute(_BEGIN_SQLITE, {"name": table.name})
    connection.execute(_WRITE[connection.dialect.name], _names(connection, table) | {"last": last})


def _key(table: Table) -> Column[Any]:
    key = table.autoincrement_column
    assert key is not None, f"{table.name}: no number"
    return key


def _names(connection: Connection, table: Table) -> dict[str, Any]:
    on_sqlite = connection.dialect.name == "sqlite"
    return {"name": table.name} if on_sqlite else {"name": table.name, "key": _key(table).name}
