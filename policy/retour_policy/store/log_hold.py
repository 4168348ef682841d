"""Log hold: keeps SQLite from removing the log at the path when a database is closed whose own log is another.

Who closes a database last has SQLite write its log back, and then remove the file that is at the log's path: also one
that another process has begun and committed to. It does so only with an exclusive lock on the database, so a shared
one is held here (sqlite.org, "Database File Format", section 1.4: the lock-byte page).
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from retour_policy.store.lock import lock_octets

SHARED_FIRST = 0x40000000 + 2  # of a database file: where SQLite's shared locks are
SHARED_OCTETS = 510

_descriptors: dict[tuple[int, int], int] = {}
"""By device and inode. They stay open: to close one would end SQLite's locks on the file too, as fcntl(2) has it."""
_changing = threading.Lock()


def hold(database: Path) -> None:
    """Let no process that closes this database remove a log. Raises `OSError`."""
    with _changing:
        _forget_deleted()
        found = database.stat()
        kept = _descriptors.get((found.st_dev, found.st_ino))
        if kept is None:
            kept = os.open(database, os.O_RDONLY | os.O_CLOEXEC)
            found = os.fstat(kept)
            _descriptors[found.st_dev, found.st_ino] = kept
        lock_octets(kept, fcntl.F_RDLCK, SHARED_FIRST, SHARED_OCTETS)


def release(database: Path) -> None:
    """End that: somebody has opened the database with the log that is there now. Raises `OSError`."""
    with _changing:
        found = database.stat()
        kept = _descriptors.get((found.st_dev, found.st_ino))
        if kept is not None:
            lock_octets(kept, fcntl.F_UNLCK, SHARED_FIRST, SHARED_OCTETS)


def _forget_deleted() -> None:
    for key, descriptor in list(_descriptors.items()):
        if os.fstat(descriptor).st_nlink == 0:
            os.close(_descriptors.pop(key))
