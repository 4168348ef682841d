"""The writer: groups share a commit, what is acknowledged is on the disk, one bad item harms nobody else."""

from __future__ import annotations

import fcntl
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert
from sqlalchemy.exc import IntegrityError, OperationalError

from retour_policy import schema, store, writer
from retour_policy.errors import StoreUnavailable
from retour_policy.store import Store, open_store
from retour_policy.writer import Writer


@pytest.fixture
def commits(store: Store) -> list[int]:
    """Grows by one with each commit of the writer's engine."""
    found: list[int] = []
    event.listen(store._writer, "commit", lambda _: found.append(1))
    return found


@pytest.fixture
def desk(store: Store) -> Iterator[Writer]:
    """A writer that is closed at the end."""
    writer = Writer(store)
    yield writer
    writer.close()


def add(key: bytes) -> Callable[[Connection], bytes]:
    """Work that writes one row."""

    def work(connection: Connection) -> bytes:
        connection.execute(insert(schema.address).values(key=key))
        return key

    return work


def keys(path: Path) -> set[bytes]:
    with closing(sqlite3.connect(path)) as connection:
        return {key for (key,) in connection.execute("SELECT key FROM address")}


class Gate:
    """Work that holds the writer until it is opened, so that a group gathers behind it."""

    def __init__(self, desk: Writer) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self.done = desk.submit(self._work)
        assert self.entered.wait(10)

    def _work(self, connection: Connection) -> None:
        self.entered.set()
        assert self.open.wait(10)


def test_items_that_wait_share_one_commit(desk: Writer, commits: list[int], database: Path) -> None:
    """A hundred items behind a busy writer are written by one commit, in order."""
    gate = Gate(desk)
    futures = [desk.submit(add(b"%03d" % n)) for n in range(100)]
    gate.open.set()
    assert [future.result(10) for future in futures] == [b"%03d" % n for n in range(100)]
    assert len(commits) == 2  # the gate's, and one for all
    assert len(keys(database)) == 100


def test_a_group_has_a_bound(desk: Writer, commits: list[int]) -> None:
    """Five hundred items take three commits of at most two hundred each."""
    gate = Gate(desk)
    futures = [desk.submit(add(b"%03d" % n)) for n in range(500)]
    gate.open.set()
    for future in futures:
        future.result(10)
    assert len(commits) == 1 + 3


def test_nothing_is_acknowledged_before_its_commit(desk: Writer, store: Store) -> None:
    """While the commit is under way no future of its group is done, though the work is."""
    seen: list[bool] = []
    gate = Gate(desk)
    futures = [desk.submit(add(b"%d" % n)) for n in range(5)]
    event.listen(store._writer, "commit", lambda _: seen.extend(future.done() for future in futures))
    gate.open.set()
    for future in futures:
        future.result(10)
    assert seen[-5:] == [False] * 5


def test_a_bad_item_fails_alone(desk: Writer, database: Path) -> None:
    """An item that raises or breaks a rule is undone as a whole; its neighbours in the group are written."""

    def half_done(connection: Connection) -> None:
        add(b"half")(connection)
        raise ValueError("never mind")

    gate = Gate(desk)
    good = [desk.submit(add(b"good %d" % n)) for n in range(3)]
    bad = [desk.submit(half_done), desk.submit(add(b"good 0"))]
    unbindable = desk.submit(lambda c: c.execute(insert(schema.fact).values(at=1, kind="x", detail={"a": object()})))
    after = desk.submit(add(b"after"))
    gate.open.set()
    assert [future.result(10) for future in (*good, after)] == [b"good 0", b"good 1", b"good 2", b"after"]
    for future, error in zip(bad, (ValueError, IntegrityError), strict=True):
        with pytest.raises(error):
            future.result(10)
    with pytest.raises(Exception, match="not JSON serializable") as caught:
        unbindable.result(10)
    assert not isinstance(caught.value, StoreUnavailable)
    assert keys(database) == {b"good 0", b"good 1", b"good 2", b"after"}


def poison(connection: Connection) -> None:
    """Work that makes the store fail, as a damaged page would."""
    connection.execute(insert(schema.address).values(key=b"poison"))
    raise OperationalError("INSERT", {}, Exception("database disk image is malformed"))


@pytest.mark.parametrize("poisons", [1, 2, 5])
def test_items_that_make_the_store_fail_fail_alone(desk: Writer, database: Path, poisons: int) -> None:
    """However many of a group do it: they get `StoreUnavailable`, all others are written."""
    gate = Gate(desk)
    works = [add(b"%d" % n) for n in range(10)]
    for place in range(poisons):
        works.insert(2 * place + 1, poison)  # type: ignore[arg-type]
    futures = [desk.submit(work) for work in works]
    gate.open.set()
    for work, future in zip(works, futures, strict=True):
        if work is poison:
            with pytest.raises(StoreUnavailable, match="malformed"):
                future.result(10)
        else:
            future.result(10)
    assert keys(database) == {b"%d" % n for n in range(10)}


def test_a_store_that_is_down_fails_the_group_and_comes_back(
    desk: Writer, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locked by others: all futures raise `StoreUnavailable`, at once and once; later items are written."""
    monkeypatch.setattr(store, "BUSY_TIMEOUT", 50)
    slow = Writer(open_store(f"sqlite:///{database}"))
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        futures = [slow.submit(add(b"%d" % n)) for n in range(50)]
        for future in futures:
            with pytest.raises(StoreUnavailable, match="locked"):
                future.result(10)
        assert time.monotonic() - began < 3
    assert keys(database) == set()
    assert slow.run(add(b"later"), 10_000) == b"later"
    slow.close()


def test_a_caller_who_gives_up_is_not_surprised_later(desk: Writer, database: Path) -> None:
    """What was not begun when its caller's time was over is never done: the mail was put off, not sent."""
    gate = Gate(desk)
    with pytest.raises(StoreUnavailable, match="no commit within 20 ms"):
        desk.run(add(b"late"), 20)
    gate.open.set()
    desk.run(add(b"next"), 10_000)
    assert keys(database) == {b"next"}


def test_too_many_waiting_items_are_turned_away(desk: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue has a bound; who does not fit is told at once to come back later."""
    monkeypatch.setattr(writer, "WAITING", 3)
    small = Writer(desk._store)
    gate = Gate(small)
    futures = [small.submit(add(b"%d" % n)) for n in range(4)]
    with pytest.raises(StoreUnavailable, match="3 items wait"):
        futures[3].result(0)
    gate.open.set()
    for future in futures[:3]:
        future.result(10)
    small.close()


def test_closing_finishes_what_is_queued(store: Store, database: Path) -> None:
    """All that was taken before the end is written; what comes after it is refused, and no caller waits for ever."""
    desk = Writer(store)
    gate = Gate(desk)
    stop = threading.Event()
    futures: list[Any] = []

    def submit_for_ever() -> None:
        while not stop.is_set():
            futures.append(desk.submit(add(b"%d" % len(futures))))

    submitter = threading.Thread(target=submit_for_ever)
    submitter.start()
    gate.open.set()
    desk.close()
    stop.set()
    submitter.join()
    written = set()
    for future in futures:
        assert future.done()
        if future.exception() is None:
            written.add(future.result())
        else:
            assert isinstance(future.exception(), StoreUnavailable)
    assert keys(database) == written
    desk.close()  # again: nothing happens


WRITE = """
import sys, time
from sqlalchemy import insert
from retour_policy import schema
from retour_policy.store import open_store
from retour_policy.writer import Writer
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
desk = Writer(open_store("sqlite:///" + path))
worst = 0.0
print("ready", flush=True)
sys.stdin.readline()
for n in range(count):
    key = b"%s-%06d" % (name.encode(), n)
    began = time.monotonic()
    desk.run(lambda c: c.execute(insert(schema.address).values(key=key)).rowcount, 60_000)
    worst = max(worst, time.monotonic() - began)
    print(key.decode(), flush=True)
desk.close()
print("worst", worst, flush=True)
"""


def start(database: Path, name: str, count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, database, name, str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.close()


def test_processes_take_turns(database: Path) -> None:
    """Four processes write at once: nothing is lost, and none waits much longer than its share."""
    names = ("a", "b", "c", "d")
    processes = [start(database, name, 150) for name in names]
    for process in processes:
        go(process)
    worst = []
    for process in processes:
        assert process.stdout
        lines = process.stdout.read().split("\n")
        assert process.wait(30) == 0
        worst.append(float(lines[-2].split()[1]))
        process.stdout.close()
    assert keys(database) == {b"%s-%06d" % (name.encode(), n) for name in names for n in range(150)}
    assert max(worst) < 2.0, f"somebody starved: {worst}"


def test_writers_queue_on_the_lock_beside_the_database(desk: Writer, database: Path) -> None:
    """While another process holds the lock file nothing is written, though SQLite itself is free."""
    with (database.with_name("retour.db.lock")).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        blocked = desk.submit(add(b"first"))
        with pytest.raises(TimeoutError):
            blocked.result(0.3)
    assert blocked.result(10) == b"first"


def test_a_killed_writer_loses_nothing_that_it_acknowledged(database: Path) -> None:
    """Killed at random moments: each key that was acknowledged is there, and the next process goes on at once."""
    chance = random.Random(20270115)
    acknowledged: set[bytes] = set()
    for turn in range(6):
        process = start(database, f"turn {turn}", 100_000)
        go(process)
        assert process.stdout
        for _ in range(chance.randrange(1, 60)):
            acknowledged.add(process.stdout.readline().strip().encode())
        process.send_signal(signal.SIGKILL)
        acknowledged |= {line.strip().encode() for line in process.stdout if line.endswith("\n")}
        process.wait(10)
        process.stdout.close()
    assert len(acknowledged) > 50 and acknowledged <= keys(database)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.skipif(shutil.which("strace") is None, reason="the kernel's view needs strace (Debian package strace)")
def test_fsync_comes_before_the_acknowledgement(database: Path, tmp_path: Path) -> None:
    """Seen from the kernel: between an item's row in the log file and its acknowledgement the log is synced."""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-s", "300", "-o", trace, "-e", "trace=pwrite64,fsync,fdatasync,write",
               sys.executable, "-c", WRITE, database, "traced", "5"]  # fmt: skip
    done = subprocess.run(command, input="\n", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    synced, order = False, []
    for line in trace.read_text().splitlines():
        if "-wal>" in line and "pwrite64(" in line:
            synced = False
        elif "-wal>" in line and re.search(r"f(data)?sync\(", line):
            synced = True
        elif found := re.search(r'write\(1<[^>]*>, "(traced-\d+)', line):
            order.append((found[1], synced))
    assert order == [(f"traced-{n:06d}", True) for n in range(5)]


FULL = """
import resource, signal, sys
from sqlalchemy import insert
from retour_policy import schema
from retour_policy.errors import StoreUnavailable
from retour_policy.store import open_store
from retour_policy.writer import Writer
path = sys.argv[1]
desk = Writer(open_store("sqlite:///" + path))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
def item(n):
    return lambda c: c.execute(insert(schema.address).values(key=b"%06d" % n, text="x" * 300)).rowcount
n = down = 0
while down < 3 and n < 50_000:
    futures = [desk.submit(item(n + m)) for m in range(20)]
    for m, future in enumerate(futures):
        try:
            future.result(20)
            print("%06d" % (n + m))
        except StoreUnavailable as error:
            print("refused", error)
            down += 1
    n += 20
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
desk.run(item(999_999), 20_000)
print("999999")
desk.close()
"""


def test_a_full_disk_refuses_and_loses_nothing(database: Path) -> None:
    """No room left: `StoreUnavailable` and no acknowledgement; with room again the same process writes on."""
    done = subprocess.run([sys.executable, "-c", FULL, database], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")[:-1]
    refused = [line for line in lines if line.startswith("refused")]
    written = {line.encode() for line in lines if not line.startswith("refused")}
    assert len(refused) >= 3 and len(written) > 100 and lines[-1] == "999999"
    assert re.search(r"full|disk I/O error", refused[0])
    assert keys(database) == written
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
