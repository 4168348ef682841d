"""Disk: each call about the store's files fails in its turn; the file system is full; the file is gone or locked."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import sqlite3
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from random import Random

from lab.daemon import NO_STORMS, Daemon
from lab.wait import PATIENCE
from ordeals.books import Book, Verdict, check_file, read_recorded
from ordeals.client import Client

SOURCE = Path(__file__).with_name("failing_disk.c")
ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS)
FAILING_CALLS = (1, 1_000_000)
"""How many calls in a row fail: one, or all until the plan is taken back."""
PLAN_OCTETS = 16
MAX_REPORTS = 4_000
STORE_TIMEOUT = ('store_timeout = "60s"', 'store_timeout = "1s"')
FILE_SYSTEM_OCTETS = 24_000_000


class FailingDisk:
    """The library that is preloaded, and the plan that it and we share."""

    def __init__(self, folder: Path) -> None:
        library, self._plan_file = folder / "failing_disk.so", folder / "plan"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
        self._plan_file.write_bytes(bytes(PLAN_OCTETS))
        with self._plan_file.open("r+b") as file:
            self._plan = mmap.mmap(file.fileno(), PLAN_OCTETS)
        self.env = dict(os.environ) | {"LD_PRELOAD": str(library), "FAILING_DISK": str(self._plan_file)}

    @property
    def calls(self) -> int:
        """How many calls there were so far."""
        return int(struct.unpack("4i", self._plan[:])[3])

    def fail(self, after: int, count: int, error: int) -> None:
        """Behind the next `after` calls `count` fail with `error` (an errno; 0: none)."""
        self._plan[:12] = struct.pack("3i", after, count, error)


def run(folder: Path, seconds: float, chance: Random) -> Verdict:
    """Call after call fails for half of `seconds`, at least each of one commit; then the file system's own ways."""
    figures: dict[str, int | float | str] = {}
    disk = FailingDisk(folder)
    (folder / "calls").mkdir()
    with Daemon(folder / "calls", [NO_STORMS, STORE_TIMEOUT], env=disk.env) as daemon:
        faults = _fail_calls(daemon, disk, time.monotonic() + seconds / 2, figures)
    with _file_system(folder / "disk") as mounted, Daemon(mounted, [NO_STORMS, STORE_TIMEOUT]) as daemon:
        faults += _trouble(daemon, mounted, figures)
    return Verdict(figures, tuple(faults))


def _fail_calls(daemon: Daemon, disk: FailingDisk, until: float, figures: dict[str, int | float | str]) -> list[str]:
    """One report for each step, error and number of failures: 250 only if it is on the disk."""
    book, client = Book(), Client(daemon.socket)
    todo = iter(daemon.addresses(MAX_REPORTS, "call-"))
    before = disk.calls
    address, to = next(todo)
    assert client.deliver(address, to) == 250
    book.acknowledged.add(to)
    steps = disk.calls - before + 2
    failed = refused = 0
    for (step, count, error), (address, to) in zip(_plans(steps, until), todo, strict=False):
        disk.fail(step, count, error)
        code = client.deliver(address, to)
        disk.fail(0, 0, 0)
        failed += 1
        refused += code != 250
        while code != 250:  # what was answered so may be recorded or not, and must be taken in the end
            code = client.deliver(address, to)
        book.acknowledged.add(to)
    client.close()
    figures |= {"calls of one commit": steps - 2, "calls failed": failed, "answered 451": refused}
    return _balance(daemon, book)


def _plans(steps: int, until: float) -> Iterator[tuple[int, int, int]]:
    """Step, number of failing calls, and errno: all once, then again until that time."""
    while True:
        for step in range(steps):
            for count in FAILING_CALLS:
                for error in ERRORS:
                    yield step, count, error
        if time.monotonic() > until:
            return


def _balance(daemon: Daemon, book: Book) -> list[str]:
    return book.balance(read_recorded(daemon.database)) + check_file(daemon.database)


def _trouble(daemon: Daemon, mounted: Path, figures: dict[str, int | float | str]) -> list[str]:
    """Locked by another, full, gone, replaced: 451 while it lasts, 250 afterwards, without a restart."""
    book, faults = Book(), []
    todo = iter(daemon.addresses(200, "trouble-"))
    ways: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "locked by its lock file": lambda: _lock_file(daemon.database),
        "locked by SQLite": lambda: _locked(daemon.database),
        "full": lambda: _full(mounted),
        "gone": lambda: _gone(daemon.database),
        "replaced by an empty file": lambda: _gone(daemon.database, replace=True),
    }
    for way, trouble in ways.items():
        client = Client(daemon.socket)
        with trouble():
            address, to = next(todo)
            codes = []
            for _ in range(3):
                codes.append(client.deliver(address, to))
            book.unclear.add(to)
            if set(codes) - {451, 250}:
                faults.append(f"{way}: answered {codes}")
        code = 0
        deadline = time.monotonic() + PATIENCE
        while (code := client.deliver(address, to)) != 250 and time.monotonic() < deadline:
            time.sleep(0.05)
        if code != 250:
            faults.append(f"{way}: still {code} when it was over")
        else:
            book.acknowledged.add(to)
        figures[f"{way}: answers"] = " ".join(map(str, codes))
        client.close()
    return faults + _balance(daemon, book)


@contextmanager
def _file_system(folder: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={FILE_SYSTEM_OCTETS},mode=0755", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def _lock_file(database: Path) -> Iterator[None]:
    with database.with_name(database.name + ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def _gone(database: Path, *, replace: bool = False) -> Iterator[None]:
    """The database and its log are somewhere else for a while."""
    away = database.with_name("away")
    away.mkdir()
    moved = [path for path in database.parent.glob(f"{database.name}*") if not path.name.endswith(".lock")]
    for path in moved:
        path.rename(away / path.name)
    if replace:
        database.touch()
    try:
        yield
    finally:
        database.unlink(missing_ok=True)
        for path in moved:
            (away / path.name).rename(path)
        away.rmdir()


@contextmanager
def _full(mounted: Path) -> Iterator[None]:
    filler = mounted / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC
    try:
        yield
    finally:
        filler.unlink()
