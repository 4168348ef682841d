"""SQLite files: those that make up one open database, and whether they are still the ones at their paths.

A process that has a database open goes on writing to it after the file was deleted or replaced: what it commits is
gone with the file. The same holds for the write-ahead log, in which the newest commits are
(sqlite.org, "How To Corrupt An SQLite Database File", section 1 and 2.4).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from retour_policy.store import log_hold, sqlite
from retour_policy.store.lock import lock_octets

INDEX_USED = 128  # the octet of a log's index that each process which uses it has a shared lock on

Identity = tuple[int, ...] | None
"""Device and inode of a file, and behind a symbolic link those of its target; None: there is no file."""


class State(Enum):
    """How the files at the paths compare with those that are open."""

    SAME = "unchanged"
    UNLOGGED = "its write-ahead log was removed or replaced while it was open"
    REPLACED = "another file has taken its place"
    DELETED = "it was removed"


class Rescue(Enum):
    """What became of the commits in a log that was removed."""

    SAVED = "they are in the database"
    BUSY = "not now, others are reading"
    OTHERS = "another log or index was begun, and only that counts"


class FileSet(NamedTuple):
    """The database, its write-ahead log, and the log's index."""

    database: Identity
    log: Identity
    log_index: Identity


class SqliteFiles:
    """The files of one database, kept open, so that no other file can get their inodes."""

    def __init__(self, path: Path) -> None:
        """Open them. Raises `OSError`, `sqlite3.Error`."""
        self._path = path
        real = path.resolve()  # SQLite names the log after the file itself, whatever link led to it
        self._log, self._index = (real.with_name(real.name + end) for end in ("-wal", "-shm"))
        before = _identity(path)
        self._keeper = sqlite.connect(path)
        try:
            self._opened = self._attached()
            log_hold.release(path)
            if self._opened.database != before:
                raise FileNotFoundError(f"{path}: was replaced while it was opened")
        except BaseException:
            self._keeper.close()
            raise

    def state(self) -> State:
        """Whether they are still the files at their paths: three calls of lstat(2). Raises `OSError`."""
        found = self._look()
        if found == self._opened:
            return State.SAME
        if found.database != self._opened.database:
            return State.REPLACED if found.database else State.DELETED
        if self._opened.log is None:
            self._opened = self._attached()  # it had no log so far, and has just got one
            return State.SAME
        return State.UNLOGGED

    def rescue(self) -> Rescue:
        """Write into the database what is in a log that was removed. Raises `OSError`, `sqlite3.Error`."""
        with self._nobody_has_another() as alone:
            if not alone:
                return Rescue.OTHERS
            busy, *_ = self._keeper.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return Rescue.BUSY if busy else Rescue.SAVED

    def left_log(self) -> LeftLog | None:
        """The log, if it is still at its path, though the database is not."""
        return LeftLog.of(self._log, self._opened) if _identity(self._log) == self._opened.log else None

    def close(self) -> None:
        """Close them, and save what is in a log that was removed. What another process has begun stays."""
        with contextlib.suppress(OSError, sqlite3.Error):  # they are closed, whatever the disk says
            if self.state() is State.UNLOGGED:
                log_hold.hold(self._path)
                self.rescue()
        self._keeper.close()

    def _attached(self) -> FileSet:
        """What is at the paths, once the keeper has opened it. Raises `OSError`, `sqlite3.Error`.

        The keeper opens the log, and takes a lock that stays: so no other process removes the log when it closes.
        All connections of a process share one index. While one of them has an index that was removed, new ones
        get that too, and what they commit is seen by no other process.
        """
        try:
            self._keeper.execute("PRAGMA schema_version").fetchone()
        except sqlite3.Error as error:
            if _is_open_here(f"{self._index} (deleted)"):  # what is wrong may be no more than that
                raise BlockingIOError(f"an index that was removed is still in use here ({error})") from error
            raise
        found = self._look()
        if found.log and not (found.log_index and _is_open_here(str(self._index), found.log_index)):
            raise BlockingIOError("an index that was removed is still in use here")
        return found

    @contextlib.contextmanager
    def _nobody_has_another(self) -> Iterator[bool]:
        """Whether no process uses a log or an index other than ours; none begins to while the block runs."""
        found = self._look()
        if found.log not in (None, self._opened.log) and self._log.stat().st_size > 0:
            yield False
        elif found.log_index in (None, self._opened.log_index):
            yield True
        elif found.log == self._opened.log:
            yield False  # the other index was made from it, and the log is not lost
        else:
            with _index_unused(self._index) as unused:
                yield unused and self._log_is_empty()

    def _log_is_empty(self) -> bool:
        return not self._log.exists() or self._log.stat().st_size == 0

    def _look(self) -> FileSet:
        return FileSet(_identity(self._path), _identity(self._log), _identity(self._index))


class LeftLog:
    """The log of a database that is gone. Whoever opened another one beside it would write it into that one."""

    def __init__(self, path: Path, files: FileSet) -> None:
        self._path, self._files = path, files
        self._descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)  # so that its inode is not given to another file

    @classmethod
    def of(cls, path: Path, files: FileSet) -> LeftLog | None:
        """That of these files; None if there was none. Raises `OSError`."""
        return cls(path, files) if files.log else None

    def is_beside_another(self, database: Path) -> bool:
        """Whether there is a file at the path `database`, and not the one that it belongs to. Raises `OSError`."""
        here = _identity(database)
        return here not in (None, self._files.database) and _identity(self._path) == self._files.log

    def close(self) -> None:
        """Forget it."""
        os.close(self._descriptor)


def _is_open_here(path: str, identity: Identity = None) -> bool:
    """Whether this process has the file open that proc(5) shows as `path`, and (if given) with this identity."""
    try:
        links = list(Path("/proc/self/fd").iterdir())
    except FileNotFoundError:
        return identity is not None  # where /proc is not mounted, nothing is known against it
    for link in links:
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if str(link.readlink()) == path:
                found = link.stat()
                if identity in (None, (found.st_dev, found.st_ino)):
                    return True
    return False


@contextlib.contextmanager
def _index_unused(path: Path) -> Iterator[bool]:
    """Whether no process has this index open; until the block ends none can open it, and SQLite waits."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        lock_octets(descriptor, fcntl.F_WRLCK, INDEX_USED)
        unused = True
    except BlockingIOError:
        unused = False
    try:
        yield unused
    finally:
        os.close(descriptor)


def _identity(path: Path) -> Identity:
    try:
        own = os.lstat(path)  # several times a commit, and Path takes twice as long
        if not stat.S_ISLNK(own.st_mode):
            return own.st_dev, own.st_ino
        target = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return own.st_dev, own.st_ino, target.st_dev, target.st_ino
