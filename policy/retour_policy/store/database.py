"""Database: opens the store, refuses a database that is not Retour's, and lets one process at a time write to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError, StatementError

from retour_policy.errors import ConfigError, Problem, StoreDamaged, StoreRefused, StoreUnavailable
from retour_policy.store import sqlite
from retour_policy.store.lock import LongWait, tell_nobody, write_lock
from retour_policy.store.schema import REVISION, VERSION_TABLE
from retour_policy.store.signals import ENDING, STOPPING, held_back

READ_CONNECTIONS = 8
DEADLOCK_STATES = ("40P01", "40001")  # of PostgreSQL: deadlock_detected, serialization_failure


class Store:
    """One database. `reading()` and `writing()` give connections; all their errors are temporary."""

    NEEDED_REVISION = REVISION
    """The revision of the schema that this version works with."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.on_long_wait: LongWait = tell_nobody
        self._file = sqlite.sqlite_file(url)
        self._reader = self._reading_engine()
        self._writer = self._writing_engine()

    @property
    def name(self) -> str:
        """The database's address without its password, for messages."""
        return make_url(self.url).render_as_string(hide_password=True)

    def exists(self) -> bool:
        """Whether there is anything to open; a server is asked when it is used."""
        return self._file is None or self._file.exists()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the store and cannot change it. Raises `StoreUnavailable`."""
        with self._temporary(), self._reader.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is durable when the block ends. Raises `StoreUnavailable`."""
        with (
            self._temporary(),
            held_back(STOPPING),  # a process that is stopped while it waits may get the lock all the same
            self._write_lock(),
            held_back(ENDING),
            self._writer.begin() as connection,
        ):
            yield connection

    def create(self) -> None:
        """Create the file of a new database: mode 0640, with the owner of its folder. Raises `StoreUnavailable`."""
        if self.exists() or self._file is None:
            return
        with self._temporary():
            sqlite.create_file(self._file)

    def check(self) -> None:
        """Raise `StoreRefused` unless this version can use the database as it is."""
        if not self.exists():
            raise StoreRefused(f"{self.name}: no database; `retour db upgrade` creates one")
        found = self.revision()
        if found is None:
            raise StoreRefused(f"{self.name}: the database is empty; run `retour db upgrade`")
        if found > REVISION:
            raise StoreRefused(
                f"{self.name}: its schema {found} is newer than this Retour's {REVISION}; "
                "install that newer Retour again"
            )
        if found < REVISION:
            raise StoreRefused(f"{self.name}: its schema {found} is older than {REVISION}; run `retour db upgrade`")

    def revision(self) -> str | None:
        """The schema's revision, None where the database is empty. Raises `StoreRefused` if it is not Retour's."""
        try:
            with self.reading() as connection:
                tables = inspect(connection).get_table_names()
                if VERSION_TABLE in tables:
                    found = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
                    return str(found) if found else None
        except StoreUnavailable as error:
            if "not a database" not in str(error):
                raise
            raise StoreRefused(f"{self.name}: is not a database; name another in store.url") from error
        if tables:
            raise StoreRefused(
                f"{self.name}: holds tables that are not Retour's ({', '.join(sorted(tables)[:3])}); "
                "give Retour a database of its own in store.url, then run `retour db upgrade`"
            )
        return None

    def overwrite_log(self) -> None:
        """Remove deleted data from SQLite's log. Readers that are active now can prevent that."""
        if self._file is None:
            return
        with self._temporary(), held_back(STOPPING), self._write_lock():
            sqlite.truncate_log(self._writer)

    def close(self) -> None:
        """Close all connections."""
        self._reader.dispose()
        self._writer.dispose()

    def failure(self, error: BaseException) -> StoreUnavailable:
        """What an error of the database or the disk is to callers: temporary, unless the file is damaged."""
        if isinstance(error, StoreUnavailable):
            return error
        orig = getattr(error, "orig", None)
        if not sqlite.is_damage(orig):
            return StoreUnavailable(f"{self.name}: {orig or error}")
        self.close()  # they keep what they have read, also when the file is whole again
        return StoreDamaged(
            f"{self.name}: the database is damaged ({orig}). Mail waits meanwhile, and nothing was changed. "
            'Stop the services, then put back a copy or save what can be read: docs/keeping.md, "A damaged database"'
        )

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[None]:
        """Turn errors of the database or the disk into `StoreUnavailable`; errors of single values pass unchanged."""
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            if isinstance(error, StatementError) and is_of_the_item(error):
                raise
            raise self.failure(error) from error

    def _write_lock(self) -> contextlib.AbstractContextManager[None]:
        """Between processes; a database server needs none."""
        return write_lock(self._file, self.on_long_wait) if self._file else contextlib.nullcontext()

    def _reading_engine(self) -> Engine:
        if self._file:
            return sqlite.reading_engine(self.url, READ_CONNECTIONS)
        engine = create_engine(self.url, pool_size=READ_CONNECTIONS, pool_pre_ping=True)
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)  # one state

    def _writing_engine(self) -> Engine:
        if self._file:
            return sqlite.writing_engine(self.url)
        return create_engine(self.url, pool_size=1, pool_pre_ping=True)


def file_of(url: str) -> Path | None:
    """The file of an SQLite database; None for a server, and for what is no URL."""
    try:
        return sqlite.sqlite_file(url)
    except ArgumentError:
        return None


def open_store(url: str, *, file: str = "", check: bool = True) -> Store:
    """The store at `url`, checked. Raises `ConfigError` that names `file`, `StoreRefused` or `StoreUnavailable`."""
    right = 'for example "sqlite:////var/lib/retour/retour.db"'
    try:
        path = sqlite.sqlite_file(url)
        if path is not None and (not path.name or path.name == ":memory:"):
            raise ConfigError(Problem(file, "store.url", f"names no file; {right}"))
        if path is not None and (not path.is_absolute() or "?" in url):
            raise ConfigError(Problem(file, "store.url", f"must be an absolute path and nothing more; {right}"))
        store = Store(url)
    except ImportError as error:
        raise ConfigError(Problem(file, "store.url", f"needs a driver that is not installed ({error})")) from error
    except ArgumentError as error:
        raise ConfigError(Problem(file, "store.url", f"is not the URL of a database; {right}")) from error
    if check:
        store.check()
    return store


def is_of_the_item(error: BaseException) -> bool:
    """Whether an error certainly comes from the values given, not from the store: a retry would fail too."""
    if isinstance(error, DBAPIError):
        permanent = ("IntegrityError", "DataError", "ProgrammingError", "NotSupportedError")
        return type(error).__name__ in permanent and not error.connection_invalidated
    if isinstance(error, StatementError):
        return True  # a value that cannot be bound
    return not isinstance(error, (SQLAlchemyError, OSError, MemoryError, StoreUnavailable))


def is_deadlock(error: BaseException) -> bool:
    """Whether the database rolled this transaction back so that another could proceed; a retry may succeed."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) in DEADLOCK_STATES
