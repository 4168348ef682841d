"""Durability: what processes acknowledge is on the disk, whether they are killed, crowded or out of room."""

from __future__ import annotations

import fcntl
import itertools
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert

from lab.wait import PATIENCE
from retour_policy.store import schema
from retour_policy.store.database import Store
from retour_policy.store.writer import Writer


def keys(path: Path) -> set[bytes]:
    with closing(sqlite3.connect(path)) as connection:
        return {key for (key,) in connection.execute("SELECT key FROM address")}


WRITE = """
import sys
from sqlalchemy import insert
from retour_policy.store import schema
from retour_policy.store.database import open_store
from retour_policy.store.writer import Writer
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
writer = Writer(open_store("sqlite:///" + path))
print("ready", flush=True)
sys.stdin.readline()
for n in range(count):
    key = b"%s-%06d" % (name.encode(), n)
    writer.run(lambda c: c.execute(insert(schema.address).values(key=key)).rowcount, 60_000)
    print(key.decode(), flush=True)
writer.close()
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
    """Four processes write at once: nothing is lost, and none waits while the others write all that they have."""
    names = ("a", "b", "c", "d")
    processes = [start(database, name, 150) for name in names]
    for process in processes:
        go(process)
    for process in processes:
        assert process.stdout
        process.stdout.read()
        assert process.wait(PATIENCE) == 0
        process.stdout.close()
    assert keys(database) == {b"%s-%06d" % (name.encode(), n) for name in names for n in range(150)}
    waits = {name: longest_wait(database, name) for name in names}
    # Who starves waits for all 450 of the others; a busy machine alone lets a process wait for some 150.
    assert max(waits.values()) < 300, f"somebody starved: {waits}"


def longest_wait(database: Path, name: str) -> int:
    """The most rows of others between two of one writer, or before its first."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT id, key FROM address ORDER BY id")
        ids = [0] + [number for number, key in rows if key.startswith(name.encode())]
    return max(later - sooner - 1 for sooner, later in itertools.pairwise(ids))


def test_writers_queue_on_the_lock_beside_the_database(store: Store, database: Path) -> None:
    """While another process holds the lock file nothing is written, though SQLite itself is free."""
    writer = Writer(store)
    with (database.with_name("retour.db.lock")).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        blocked = writer.submit(lambda c: c.execute(insert(schema.address).values(key=b"first")).rowcount)
        with pytest.raises(TimeoutError):
            blocked.result(0.3)
    assert blocked.result(PATIENCE) == 1
    writer.close()


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
        process.wait(PATIENCE)
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
    done = subprocess.run(command, input="\n", capture_output=True, text=True, timeout=PATIENCE)
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
from retour_policy.store import schema
from retour_policy.errors import StoreUnavailable
from retour_policy.store.database import open_store
from retour_policy.store.writer import Writer
path = sys.argv[1]
writer = Writer(open_store("sqlite:///" + path))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
def item(n):
    return lambda c: c.execute(insert(schema.address).values(key=b"%06d" % n, text="x" * 300)).rowcount
n = down = 0
while down < 3 and n < 50_000:
    futures = [writer.submit(item(n + m)) for m in range(20)]
    for m, future in enumerate(futures):
        try:
            future.result(60)
            print("%06d" % (n + m))
        except StoreUnavailable as error:
            print("refused", error)
            down += 1
    n += 20
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.run(item(999_999), 20_000)
print("999999")
writer.close()
"""


def test_a_full_disk_refuses_and_loses_nothing(database: Path) -> None:
    """No room left: `StoreUnavailable` and no acknowledgement; with room again the same process writes on."""
    done = subprocess.run([sys.executable, "-c", FULL, database], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")[:-1]
    refused = [line for line in lines if line.startswith("refused")]
    written = {line.encode() for line in lines if not line.startswith("refused")}
    assert len(refused) >= 3 and len(written) > 100 and lines[-1] == "999999"
    assert re.search(r"full|disk I/O error", refused[0])
    assert keys(database) == written
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
