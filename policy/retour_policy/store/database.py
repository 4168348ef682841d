"""Database: opens the store, refuses a database that is not Retour's, and lets one process at a time write to it."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError, StatementError

from retour_policy.errors import ConfigError, Problem, RetourError, StoreDamaged, StoreRefused, StoreUnavailable
from retour_policy.store import location, postgresql, sqlite
from retour_policy.store.lock import LongWait, tell_nobody, write_lock
from retour_policy.store.opened import Opened
from retour_policy.store.schema import COPYING, REVISION, VERSION_TABLE
from retour_policy.store.signals import ENDING, STOPPING, held_back
from retour_policy.store.sqlite_files import LeftLog, Rescue, State

LOOK_INTERVAL_S = 0.05  # between looks at the file by those who only query
_FIT = "fit"  # the name of the number of requirements that a connection was found to meet
MENDS_DAMAGE = (
    "`retour db check` says what is wrong with it. Stop the services, then put back a backup (`retour db backup` makes "
    'them) or save what can be read: docs/keeping.md, "A damaged database"'
)


class Store:
    """One database. `reading()` and `writing()` give connections; all their errors are temporary."""

    NEEDED_REVISION = REVISION
    """The revision of the schema that this version works with."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.on_change: Callable[[str], None] = lambda what: None
        """Told once when the file or its log is not the one that was opened, or a server does not answer, and (with "")
        when all is well again.
        """
        self.is_patient = False
        """Whether a server that does not answer at the start is waited for: it is examined when it answers."""
        self.on_long_wait: LongWait = tell_nobody
        self._file = sqlite.sqlite_file(url)
        self._numbers = itertools.count(1)
        self._opened = None if self._file else Opened(url, None, next(self._numbers))
        self._opening = threading.Lock()
        self._left_log: LeftLog | None = None
        self._requirements: list[Callable[[Connection], None]] = []
        self._told = ""
        self._telling = threading.Lock()
        self._looked = 0.0

    @property
    def name(self) -> str:
        """The database's address without its password, for messages."""
        return make_url(self.url).render_as_string(hide_password=True)

    @property
    def is_shared(self) -> bool:
        """Whether other hosts may use it too."""
        return self._file is None

    @property
    def trouble(self) -> str:
        """What is wrong with it, as it was told last; empty if nothing is."""
        return self._told

    def exists(self) -> bool:
        """Whether there is anything to open; a server is asked when it is used."""
        return self._file is None or self._file.exists()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the store and cannot change it. Raises `StoreUnavailable`."""
        with self._temporary(), self._current().reading() as connection:
            self._examine(connection)
            yield connection

    @contextlib.contextmanager
    def querying(self) -> Iterator[Connection]:
        """For one query, at the least cost: the file may just have been removed. Raises `StoreUnavailable`."""
        with self._temporary(), self._lately().querying() as connection:
            self._examine(connection)
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is durable when the block ends. Raises `StoreUnavailable`.

        So it does where the file or its log was removed or replaced meanwhile: then nothing was done.
        """
        with (
            self._temporary(),
            held_back(STOPPING),  # a process that is stopped while it waits may get the lock all the same
            self._write_lock(),
            held_back(ENDING),
        ):
            opened = self._current()
            try:
                with opened.writing() as connection:
                    self._examine(connection)
                    yield connection
                    if (state := opened.state()) is not State.SAME:
                        raise _Lost(f"{self.name}: {state.value}")
            except _Lost:
                self._current()  # saves at once what was committed before
                raise
            if opened.state() is not State.SAME:  # it was in the moment of the commit
                self._save_or_refuse(opened)
        if self._told and self.is_shared:
            self._tell("")

    def require(self, requirement: Callable[[Connection], None]) -> None:
        """Hold this of the database that is there, and of each that takes its place while this process runs.

        The requirement raises `StoreRefused`, and so does this at once. Raises `StoreUnavailable`, unless the store is
        patient.
        """
        try:
            with self.reading() as connection:
                requirement(connection)
        except StoreUnavailable as error:
            understood = self.understood(error)
            if not self.is_patient or understood is not error or isinstance(error, StoreDamaged):
                raise understood from error
        if requirement not in self._requirements:
            self._requirements.append(requirement)

    def create(self) -> None:
        """Create the file of a new database: mode 0640, with the owner of its folder. Raises `StoreUnavailable`."""
        if self.exists() or self._file is None:
            return
        with self._temporary():
            sqlite.create_file(self._file)

    def check(self) -> None:
        """Raise `StoreRefused` unless this version can use the database as it is, and later any in its place."""
        if not self.exists():
            raise StoreRefused(f"{self.name}: no database; `retour db upgrade` creates one")
        self.require(self._require_fit)

    def revision(self) -> str | None:
        """The schema's revision, None where the database is empty. Raises `StoreRefused` if it is not Retour's."""
        try:
            with self.reading() as connection:
                self._require_server(connection)
                return self._revision(connection)
        except StoreUnavailable as error:
            raise self.understood(error) from error

    def understood(self, error: StoreUnavailable) -> RetourError:
        """The same, or that the database can never be used as it is."""
        if self.is_shared:
            return StoreRefused(str(error)) if postgresql.is_refusal(error.__cause__) else error
        if "not a database" not in str(error):
            return error
        return StoreRefused(f"{self.name}: is not a database; name another in store.url")

    def _require_fit(self, connection: Connection) -> None:
        self._require_server(connection)
        self._require_schema(connection)
        if self.is_shared:
            postgresql.require_rights(connection, self.name)

    def _require_server(self, connection: Connection) -> None:
        if self.is_shared:
            postgresql.require_server(connection, self.name)

    def _require_schema(self, connection: Connection) -> None:
        found = self._revision(connection)
        if found is None:
            raise StoreRefused(f"{self.name}: the database is empty; run `retour db upgrade`")
        if found == COPYING:
            raise StoreRefused(f"{self.name}: a copy into it has not ended; run the same `retour db copy` again")
        if found > REVISION:
            raise StoreRefused(
                f"{self.name}: its schema {found} is newer than this Retour's {REVISION}; "
                "install that newer Retour again"
            )
        if found < REVISION:
            raise StoreRefused(f"{self.name}: its schema {found} is older than {REVISION}; run `retour db upgrade`")

    def _revision(self, connection: Connection) -> str | None:
        tables = inspect(connection).get_table_names()
        if VERSION_TABLE in tables:
            found = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
            return str(found) if found else None
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

    def compact(self) -> tuple[int, int] | None:
        """Write SQLite's file anew, without free room; its octets before and after. Locks the store meanwhile.

        None: a server frees room by itself. Raises `StoreUnavailable`.
        """
        if self._file is None:
            return None
        with self._temporary(), held_back(STOPPING), self._write_lock():
            sqlite.truncate_log(self._writer)  # so that the file is as large as what is in it
            before = self._file.stat().st_size
            sqlite.compact(self._writer)
            return before, self._file.stat().st_size

    def back_up(self, copy: Path) -> int | None:
        """Copy the database as it is at one moment to the new file `copy`; its octets. Nobody waits meanwhile.

        None: a server has its own ways. Raises `StoreUnavailable`, and `FileExistsError` if something is there.
        """
        if self._file is None:
            return None
        if copy.is_symlink() or copy.exists():
            raise FileExistsError(copy)
        with self._temporary():
            sqlite.back_up(self._file, copy)
            return copy.stat().st_size

    def close(self) -> None:
        """Close all connections."""
        with self._opening:
            if self._opened:
                self._opened.close()
            self._opened = None
            self._forget_left_log()

    def _abandon(self) -> None:
        """Close all connections to a damaged file; its log is not written into the one that is put in its place."""
        with self._opening:
            if self._opened is None:
                return
            with contextlib.suppress(OSError):
                self._keep_left_log(self._opened)
            self._opened.close()
            self._opened = None

    def look(self) -> None:
        """Notice a file that was removed or replaced, or that a server is back, though nobody reads or writes.

        Raises `StoreUnavailable`.
        """
        with self._temporary():
            self._current()
        if self._told and self.is_shared:
            with self.writing():
                pass

    @property
    def _reader(self) -> Engine:
        return self._current().reader

    @property
    def _writer(self) -> Engine:
        return self._current().writer

    def failure(self, error: BaseException) -> StoreUnavailable:
        """What an error of the database or the disk is to callers: temporary, unless the file is damaged."""
        if isinstance(error, StoreUnavailable):
            return error
        orig = getattr(error, "orig", None) or error
        if not sqlite.is_damage(orig):
            failure = StoreUnavailable(f"{self.name}: {postgresql.one_line(str(orig))}")
            is_servers = isinstance(error, (DBAPIError, postgresql.TakesNoWrites)) and not is_deadlock(error)
            if self.is_shared and is_servers:
                self._tell_first(str(failure))
            return failure
        self._abandon()  # they keep what they have read, also when the file is whole again
        return StoreDamaged(
            f"{self.name}: the database is damaged ({orig}). Mail waits meanwhile, and nothing was changed. "
            f"{MENDS_DAMAGE}"
        )

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[None]:
        """Turn errors of the database or the disk into `StoreUnavailable`; errors of single values pass unchanged."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            if isinstance(error, StatementError) and is_of_the_item(error):
                raise
            raise self.failure(error) from error

    def _write_lock(self) -> contextlib.AbstractContextManager[None]:
        """Between processes; a database server needs none."""
        return write_lock(self._file, self.on_long_wait) if self._file else contextlib.nullcontext()

    def _current(self) -> Opened:
        """What is open, if it is still what is at the path; else what is there now, if that will do."""
        opened = self._opened
        if opened is not None and opened.state() is State.SAME:
            return opened
        with self._opening:
            if self._opened is not None:
                self._end(self._opened)
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _lately(self) -> Opened:
        """What was open when somebody last looked, if that is not long ago."""
        opened, now = self._opened, time.monotonic()
        if opened is None or now - self._looked > LOOK_INTERVAL_S:
            opened = self._current()
            self._looked = now
        return opened

    def _save_or_refuse(self, opened: Opened) -> None:
        """Raise `StoreUnavailable` unless what was just committed is in the file that is at the path."""
        state = opened.state()
        if self._current() is not opened and not opened.saved:
            raise StoreUnavailable(f"{self.name}: {state.value}")

    def _end(self, opened: Opened) -> None:
        """Close it, unless it is still what is at the path. Raises `StoreUnavailable` if another must not follow."""
        state = opened.state()
        if state is State.SAME:
            return
        self._tell(state.value)
        if state is State.UNLOGGED:
            if opened.rescue() is Rescue.BUSY:
                raise StoreUnavailable(f"{self.name}: {state.value}")
        else:
            self._keep_left_log(opened)
        self._opened = None
        opened.close()  # all of it first: what a process opens meanwhile shares the index that was removed

    def _open(self) -> Opened:
        try:
            opened = self._opened_if_fit()
        except (StoreUnavailable, sqlite3.Error, OSError) as error:
            if self._told and self.exists():
                self._tell(str(error))
            raise
        self._forget_left_log()
        if self._told:
            self._tell("")
        return opened

    def _opened_if_fit(self) -> Opened:
        if self._left_log and self._file and self._left_log.is_beside_another(self._file):
            raise StoreUnavailable(
                f"{self.name}: another file has taken its place, and the log beside it belongs to the one before: "
                f"remove {self._file}-wal and {self._file}-shm, or put the file back"
            )
        opened = Opened(self.url, self._file, next(self._numbers))
        try:
            self._hold_to_requirements(opened)
        except BaseException:
            opened.close()
            raise
        return opened

    def _hold_to_requirements(self, opened: Opened) -> None:
        """Raises `StoreUnavailable`: what takes the place of a good database may be put right without a restart."""
        try:
            for requirement in self._requirements:
                with opened.reading() as connection:
                    requirement(connection)
        except StoreRefused as error:
            raise StoreUnavailable(str(error)) from error

    def _examine(self, connection: Connection) -> None:
        """Hold a new connection to a server to all that is required: another may have taken the first one's place.

        Raises `StoreUnavailable`: that may be put right without a restart.
        """
        if not self.is_shared or connection.info.get(_FIT) == len(self._requirements):
            return
        required = list(self._requirements)
        try:
            for requirement in required:
                requirement(connection)
        except StoreRefused as error:
            connection.invalidate()
            self._tell_first(str(error))
            raise StoreUnavailable(str(error)) from error
        connection.info[_FIT] = len(required)

    def _keep_left_log(self, opened: Opened) -> None:
        left = opened.left_log()
        self._forget_left_log()
        self._left_log = left

    def _forget_left_log(self) -> None:
        if self._left_log:
            self._left_log.close()
        self._left_log = None

    def _tell(self, what: str) -> None:
        with self._telling:
            if what != self._told:
                self.on_change(what)
            self._told = what

    def _tell_first(self, what: str) -> None:
        """Tell what is wrong with a server once: what each further try meets differs in its words only."""
        if not self._told:
            self._tell(what)


class _Lost(StoreUnavailable):
    """The file or its log was removed or replaced in the middle of a transaction."""


def open_store(url: str, *, file: str = "", check: bool = True) -> Store:
    """The store at `url`, checked. Raises `ConfigError` that names `file`, `StoreRefused` or `StoreUnavailable`."""
    if problem := location.problem_of(url):
        raise ConfigError(Problem(file, "store.url", problem))
    try:
        store = Store(url)
    except ImportError as error:
        raise ConfigError(Problem(file, "store.url", f"needs a driver that is not installed ({error})")) from error
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(Problem(file, "store.url", f"{location.WRONG} ({error})")) from error
    if check:
        store.check()
    return store


def is_of_the_item(error: BaseException) -> bool:
    """Whether an error certainly comes from the values given, not from the store: a retry would fail too."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or error.statement is None:  # or there was no connection at all
            return False
        if state := postgresql.sqlstate(error):
            return state.startswith(postgresql.ITEM_CLASSES)  # and no other: a table may lack, or a right
        return type(error).__name__ in ("IntegrityError", "DataError", "ProgrammingError", "NotSupportedError")
    if isinstance(error, StatementError):
        return True  # a value that cannot be bound
    return not isinstance(error, (SQLAlchemyError, OSError, MemoryError, StoreUnavailable))


def is_deadlock(error: BaseException) -> bool:
    """Whether the database rolled this transaction back so that another could proceed; a retry may succeed."""
    return postgresql.sqlstate(error) in postgresql.DEADLOCK_STATES
