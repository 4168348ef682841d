"""Lock: the file beside the database for which writing processes queue, and who holds it.

Without it two busy writers starve a third, as SQLite does not queue them. The kernel does not queue them either: who
gives a lock back and asks again at once is there before the one that it woke. So whoever asks goes through a door
first, another lock on the same file, and holds it until their turn: only one can be ahead of who waits.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retour_policy import files

LONG_WAIT_S = 5.0
_WORD = re.compile("[a-z]+")  # of a command line: what may be shown, no address and no path


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds the lock."""

    pid: int
    command: str
    stopped: bool
    """By a signal, such as Ctrl-Z sends it."""

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command}){', which is stopped' if self.stopped else ''}"


LongWait = Callable[[Holder | None], None]
"""Is called, in a thread of its own, when a writer has waited `LONG_WAIT_S`; None: nobody knows for whom."""


def tell_nobody(holder: Holder | None) -> None:
    """A `LongWait` that does nothing."""


@contextlib.contextmanager
def write_lock(database: Path, on_long_wait: LongWait = tell_nobody) -> Iterator[None]:
    """Hold the lock of the database in this file: one process, and one thread of it, at a time. Raises `OSError`."""
    descriptor = files.open_lock(lock_file(database), beside=database)
    try:
        if not _acquire(descriptor, wait=False):
            waited_for = os.fstat(descriptor)  # the timer may run late, when the descriptor is another file's
            timer = threading.Timer(LONG_WAIT_S, lambda: on_long_wait(_find_holder(waited_for)))
            timer.daemon = True
            timer.start()
            try:
                _acquire(descriptor, wait=True)
            finally:
                timer.cancel()
        yield
    finally:
        os.close(descriptor)


def lock_file(database: Path) -> Path:
    """Where the lock of the database in this file lies."""
    return database.with_name(database.name + ".lock")


def find_holder(descriptor: int) -> Holder | None:
    """Who holds the lock of an open file, by proc(5). Raises `OSError`."""
    return _find_holder(os.fstat(descriptor))


def _find_holder(was: os.stat_result) -> Holder | None:
    try:
        place = f"{os.major(was.st_dev):02x}:{os.minor(was.st_dev):02x}:{was.st_ino}"
        for line in Path("/proc/locks").read_text("ascii").splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5] == place:
                return _holder(int(fields[4]))
    except (OSError, IndexError, ValueError):
        pass
    return None


def lock_octets(descriptor: int, kind: int, start: int, length: int = 1, *, wait: bool = False) -> None:
    """Take an open file description lock, fcntl(2): it also keeps out this process, as its other descriptors go.

    `kind` is `fcntl.F_RDLCK`, `F_WRLCK` or `F_UNLCK`. Raises `OSError`; `BlockingIOError` where it is not free.
    """
    request = struct.pack("hhqqi0q", kind, os.SEEK_SET, start, length, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, request)


def _acquire(descriptor: int, *, wait: bool) -> bool:
    """Take the door, then the lock, and give the door back; whether that could be done."""
    try:
        _door(descriptor, fcntl.F_WRLCK, wait=wait)
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    finally:
        _door(descriptor, fcntl.F_UNLCK, wait=False)
    return True


def _door(descriptor: int, kind: int, *, wait: bool) -> None:
    """On the first octet."""
    lock_octets(descriptor, kind, 0, wait=wait)


def _holder(pid: int) -> Holder | None:
    if pid <= 0:
        return None  # in another container
    process = Path(f"/proc/{pid}")
    try:
        state = process.joinpath("stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        words = [
            word.rpartition("/")[2] for word in process.joinpath("cmdline").read_text(errors="replace").split("\0")
        ]
        name = process.joinpath("comm").read_text(errors="replace").strip()
    except (OSError, IndexError):
        return Holder(pid, "unknown", stopped=False)
    ours = next((n for n, word in enumerate(words) if word in ("retour", "retour_cli")), None)
    said = [] if ours is None else [word for word in words[ours + 1 : ours + 3] if _WORD.fullmatch(word)]
    return Holder(pid, " ".join(["retour", *said]) if ours is not None else name, stopped=state in ("T", "t"))
