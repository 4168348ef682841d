"""Integrity: whether SQLite's file is whole, as SQLite itself says."""

from __future__ import annotations

from sqlalchemy import Connection

MAX_FAULTS = 10


def faults(connection: Connection, *, deep: bool) -> list[str]:
    """What is wrong with the file; `deep` also compares each index with its table, which takes longer.

    A database server looks after its own files.
    """
    if connection.dialect.name != "sqlite":
        return []
    pragma = "integrity_check" if deep else "quick_check"
    found = [str(row[0]) for row in connection.exec_driver_sql(f"PRAGMA {pragma}({MAX_FAULTS})")]
    return [] if found == ["ok"] else found
