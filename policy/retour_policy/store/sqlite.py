"""SQLite: its file, its connections, and how it says that the file is damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import QueuePool

from retour_policy import files

BUSY_TIMEOUT_MS = 5_000  # that SQLite waits for a lock; our own processes wait on the flock instead

Tune = Callable[[sqlite3.Connection, object], None]
Begin = Callable[[Connection], None]


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL, None for another database."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    return Path(parsed.database or "")


def create_file(database: Path) -> None:
    """Create the file of a new database: mode 0640, with the owner of its folder. Raises `OSError`."""
    files.create_empty(database, 0o640)


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says that the file is malformed, or no database: no later try can succeed."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def reading_engine(url: str, connections: int) -> Engine:
    """A pool that keeps a few connections and opens as many more while they are needed; none can write."""
    return _engine(url, connections, connections, _tune_reader, _begin)


def writing_engine(url: str) -> Engine:
    """One connection, whose transactions hold SQLite's write lock from their beginning and are durable."""
    return _engine(url, 1, 0, _tune_writer, _begin_immediate)


def truncate_log(engine: Engine) -> None:
    """Empty the write-ahead log. Readers that are active now can prevent that."""
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _engine(url: str, connections: int, more: int, tune: Tune, begin: Begin) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=more,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )
    event.listen(engine, "connect", tune)
    event.listen(engine, "begin", begin)
    return engine


def _tune_reader(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # else the driver would begin transactions of its own
    connection.execute("PRAGMA query_only = ON")


def _tune_writer(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # so that erased data cannot be read from the file


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
