"""SQLite files: those that make up one open database, and whether they are still the ones at their paths.

A process that has a database open goes on writing to it after the file was deleted or replaced: what it commits is
gone with the file. The same holds for the write-ahead log, in which the newest commits are
(sqlite.org, "How To Corrupt An SQLite Database File", section 1 and 2.4).
"""

from __future__ import annotations

import os
import stat
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from retour_policy.store import sqlite

Identity = tuple[int, ...] | None
"""Device and inode of a file, and behind a symbolic link those of its target; None: there is no file."""


class State(Enum):
    """How the files at the paths compare with those that are open."""

    SAME = "unchanged"
    UNLOGGED = "its write-ahead log was removed or replaced while it was open"
    REPLACED = "another file has taken its place"
    DELETED = "it was removed"


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
            # It opens the log, and takes a lock that stays: so no other process removes the log when it closes.
            self._keeper.execute("PRAGMA schema_version").fetchone()
            self._opened = self._look()
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
            self._opened = found  # it had no log so far, and has just got one
            return State.SAME
        return State.UNLOGGED

    def rescue(self) -> bool:
        """Write into the database what is in a log that was removed; False: not now, others are reading.

        Where others have begun another log already, only that one counts, and nothing is done. Raises `OSError`,
        `sqlite3.Error`.
        """
        found = self._look()
        others = found.log not in (None, self._opened.log) and self._log.stat().st_size > 0
        if others or found.log_index not in (None, self._opened.log_index):
            return True
        busy, *_ = self._keeper.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def left_log(self) -> LeftLog | None:
        """The log, if it is still at its path, though the database is not."""
        return LeftLog.of(self._log, self._opened) if _identity(self._log) == self._opened.log else None

    def close(self) -> None:
        """Close them."""
        self._keeper.close()

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


def _identity(path: Path) -> Identity:
    try:
        own = os.lstat(path)  # several times a commit, and Path takes twice as long
        if not stat.S_ISLNK(own.st_mode):
            return own.st_dev, own.st_ino
        target = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return own.st_dev, own.st_ino, target.st_dev, target.st_ino
