"""Opened: the connections to one database, which end when another file has taken its place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import ConnectionPoolEntry

from retour_policy.store import postgresql, sqlite
from retour_policy.store.sqlite_files import LeftLog, Rescue, SqliteFiles, State

READ_CONNECTIONS = 8
_NUMBER = "opening"  # the name of the number in the information about a connection


class Opened:
    """One database file, or (without `file`) the database of a server."""

    def __init__(self, url: str, file: Path | None, number: int) -> None:
        """`number` differs from that of all that were open before. Raises `OSError`, `sqlite3.Error`."""
        self._files = SqliteFiles(file) if file else None
        self._ended = False
        self.saved = False
        """Whether a log of this file was removed, and all that was committed to it is in the database."""
        self.reader, self.writer = _engines_of_file(file) if file else postgresql.engines(make_url(url))
        self._query = (sqlite if file else postgresql).for_one_query(self.reader)
        for engine in (self.reader, self.writer):
            event.listen(engine, "connect", lambda _, entry: _mark(entry, number))

    def state(self) -> State:
        """Whether it is still what is at its path; a server's always is. Raises `OSError`."""
        return self._files.state() if self._files else State.SAME

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state and cannot write."""
        with self.reader.connect() as connection:
            try:
                yield connection
            finally:
                self._close_if_ended(connection)

    @contextlib.contextmanager
    def querying(self) -> Iterator[Connection]:
        """A connection for one query."""
        with self._query.connect() as connection:
            try:
                yield connection
            finally:
                self._close_if_ended(connection)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, durable when the block ends."""
        with self.writer.connect() as connection:
            try:
                with connection.begin():
                    if self._files is None:
                        postgresql.begin_writing(connection)
                    yield connection
            finally:
                self._close_if_ended(connection)

    def rescue(self) -> Rescue:
        """Save what is in a log that was removed. Raises `OSError`, `sqlite3.Error`."""
        rescued = self._files.rescue() if self._files else Rescue.SAVED
        self.saved = rescued is Rescue.SAVED
        return rescued

    def left_log(self) -> LeftLog | None:
        """The log that is still at its path, though the database is not. Raises `OSError`."""
        return self._files.left_log() if self._files else None

    def close(self) -> None:
        """Close all connections; those that are in use when their users are done."""
        self._ended = True
        self.reader.dispose()
        self.writer.dispose()
        if self._files:
            self._files.close()  # last, so that the log is written into the database if nobody else has it open

    def _close_if_ended(self, connection: Connection) -> None:
        if self._ended and not connection.invalidated:
            connection.invalidate()


def number_of(connection: Connection) -> int:
    """The number of the opening that a connection belongs to: with another one, it may be another database."""
    return int(connection.info.get(_NUMBER, 0))


def _mark(entry: ConnectionPoolEntry, number: int) -> None:
    entry.info[_NUMBER] = number


def _engines_of_file(file: Path) -> tuple[Engine, Engine]:
    return sqlite.reading_engine(file, READ_CONNECTIONS), sqlite.writing_engine(file)
