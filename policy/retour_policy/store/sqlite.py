"""SQLite: its file, its connections, and how it says that the file is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import QueuePool

from retour_policy import files

BUSY_TIMEOUT_MS = 5_000  # that SQLite waits for a lock; our own processes wait on the flock instead
MAX_LOG_OCTETS = 16_000_000  # that the log keeps on the disk once it was longer
FREE_PAGES_KEPT = 1_000  # 4 MB: what is deleted is soon followed by something new
MAX_PAGES_RELEASED = 250  # in one transaction, so that it stays short

_ONE_QUERY = "retour_one_query"  # an execution option

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


def files_beside(database: Path) -> tuple[Path, ...]:
    """Where SQLite keeps what is not in the file yet, log, index and journal: it applies whatever it finds there."""
    return tuple(database.with_name(database.name + end) for end in ("-wal", "-shm", "-journal"))


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says that the file is malformed, or no database: no later try can succeed."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def connect(database: Path) -> sqlite3.Connection:
    """A connection to a file that exists: none is made, for an empty database in its place would be a trap.

    Raises `sqlite3.Error`.
    """
    return sqlite3.connect(
        f"file:{quote(str(database))}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT_MS / 1000,
        check_same_thread=False,
        isolation_level=None,  # else the driver would begin transactions of its own
    )


def reading_engine(database: Path, connections: int) -> Engine:
    """A pool that keeps a few connections and opens as many more while they are needed; none can write."""
    return _engine(database, connections, connections, _tune_reader, _begin)


def writing_engine(database: Path) -> Engine:
    """One connection, whose transactions hold SQLite's write lock from their beginning and are durable."""
    return _engine(database, 1, 0, _tune_writer, _begin_immediate)


def truncate_log(engine: Engine) -> None:
    """Empty the write-ahead log. Readers that are active now can prevent that."""
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def release_pages(connection: Connection) -> int:
    """Release some free pages at the end of the file, inside a transaction; how many. 0: what is free may stay.

    The file is shorter when SQLite next writes its log back. A server frees room by itself.
    """
    if connection.dialect.name != "sqlite":
        return 0
    free = _free_pages(connection)
    if free <= FREE_PAGES_KEPT:
        return 0
    pages = min(free - FREE_PAGES_KEPT, MAX_PAGES_RELEASED)
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA incremental_vacuum({pages})")
    cursor.fetchall()  # each step releases one page
    return free - _free_pages(connection)  # 0 in a file that was made without this


def compact(engine: Engine) -> None:
    """Write the whole file anew, without free pages, so that it can shrink by itself from then on."""
    connection = engine.raw_connection()
    try:
        for statement in ("PRAGMA auto_vacuum = INCREMENTAL", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            connection.cursor().execute(statement)
    finally:
        connection.close()


def back_up(database: Path, copy: Path) -> None:
    """Copy a database, in use or not, to the new file `copy` (mode 0640): whole or not at all, and one file.

    Raises `FileExistsError`, other `OSError`s, `sqlite3.Error`.
    """
    files.write_new(copy, b"", mode=0o640)
    try:
        with contextlib.closing(connect(database)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
            source.backup(target)  # of one moment, whatever is written meanwhile
            target.execute("PRAGMA journal_mode = DELETE")  # without files beside it, until it is used
    except BaseException:
        for file in (copy, *files_beside(copy)):
            file.unlink(missing_ok=True)
        raise


def _free_pages(connection: Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA freelist_count").scalar() or 0)


def _engine(database: Path, connections: int, more: int, tune: Tune, begin: Begin) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=lambda: connect(database),
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=more,
    )
    event.listen(engine, "connect", tune)
    event.listen(engine, "begin", begin)
    return engine


def _tune_reader(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA query_only = ON")


def _tune_writer(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect in a new file, and at `compact`
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {MAX_LOG_OCTETS}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # so that erased data cannot be read from the file


def for_one_query(reader: Engine) -> Engine:
    """The same connections, for a single query at a time: it sees one state by itself, and needs no transaction."""
    return reader.execution_options(**{_ONE_QUERY: True})


def _begin(connection: Connection) -> None:
    if _ONE_QUERY not in connection.get_execution_options():
        connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
