"""The lock of the store: nobody starves for it, who holds it is known, and no signal stops its holder."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.forked import forked
from lab.wait import PATIENCE, wait_until
from retour_policy import files
from retour_policy.store import lock, signals
from retour_policy.store.database import Store
from retour_policy.store.lock import Holder, find_holder, write_lock
from retour_policy.store.signals import ENDING, STOPPING, held_back

HOLD = """
import sys
from pathlib import Path
from retour_policy.store.lock import write_lock
with write_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""
GREEDY = """
import fcntl, mmap, sys
from pathlib import Path
from retour_policy import files
from retour_policy.store import lock
database, count = Path(sys.argv[1]), Path(sys.argv[2])
count.write_bytes(bytes(8))
descriptor = files.open_lock(database.with_name("retour.db.lock"), beside=database)
with count.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
    turns = 0
    print("begun", flush=True)
    while True:
        lock._acquire(descriptor, wait=False) or lock._acquire(descriptor, wait=True)
        turns += 1
        shared[:] = turns.to_bytes(8, "big")
        for _ in range(20_000):  # a millisecond of work, and no pause
            pass
        fcntl.flock(descriptor, fcntl.LOCK_UN)
"""


@contextmanager
def running(code: str, *words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has said that it is there."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, *words], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_who_waits_is_next(database: Path, tmp_path: Path) -> None:
    """A process that gives the lock back and asks again at once, as an import does, waits for who came in between.

    Left to the kernel, it could be there again before the one that was woken had begun to run.
    """
    count, file = tmp_path / "count", database.with_name("retour.db.lock")
    with running(GREEDY, database, count):
        wait_until(lambda: turns(count) > 10, what="turns of its own")
        descriptor = files.open_lock(file, beside=database)
        lock._door(descriptor, fcntl.F_WRLCK, wait=True)
        wait_until(lambda: waiters(file) == 1, what="its waiting behind us")
        before = turns(count)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it has given back what it had
        os.close(descriptor)
        wait_until(lambda: turns(count) > before, what="its turn after ours")


def waiters(file: Path) -> int:
    """How many wait for a lock of the file, as the kernel has it (proc(5))."""
    number = f":{file.stat().st_ino} "
    return sum("->" in line and number in line for line in Path("/proc/locks").read_text().splitlines())


def turns(count: Path) -> int:
    return int.from_bytes(count.read_bytes(), "big")


def test_the_holder_is_known(database: Path) -> None:
    """Its process, what it is, and whether it was stopped; None while nobody holds it."""
    with running(HOLD, database) as process:
        descriptor = os.open(database.with_name("retour.db.lock"), os.O_RDWR)
        assert str(find_holder(descriptor)).startswith(f"process {process.pid} (python")
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: (found := find_holder(descriptor)) and found.stopped, what="a stopped holder")
        assert str(find_holder(descriptor)).endswith("), which is stopped")
        process.send_signal(signal.SIGCONT)
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
        wait_until(lambda: find_holder(descriptor) is None, what="nobody")
        os.close(descriptor)


def test_the_command_of_the_holder_is_told_without_its_operands(database: Path) -> None:
    """`retour suppressions add anna@...`: a log of a service does not name her."""
    command = [sys.executable, "-c", HOLD, database, "/usr/bin/retour", "erase", "anna@example.net"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        with database.with_name("retour.db.lock").open() as file:
            assert str(find_holder(file.fileno())) == f"process {process.pid} (retour erase)"
        process.kill()


def test_who_waits_long_is_told_for_whom(store: Store, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a wait, and not if the lock comes soon."""
    told: list[Holder | None] = []
    heard = threading.Event()
    store.on_long_wait = lambda holder: (told.append(holder), heard.set())[0]
    with store.writing():
        pass
    monkeypatch.setattr(lock, "LONG_WAIT_S", 0.0)
    with running(HOLD, database) as process:
        thread = threading.Thread(target=lambda: store.writing().__enter__())
        thread.start()
        assert heard.wait(PATIENCE)
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
        thread.join()
    assert [holder and holder.pid for holder in told] == [process.pid]


def test_who_is_told_late_hears_of_no_other_file(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is over, and its descriptor is another file's, whose lock is held, when the timer comes."""
    told: list[Holder | None] = []
    late: list[Callable[[], None]] = []

    class LateTimer(threading.Timer):
        def __init__(self, interval: float, function: Callable[[], None]) -> None:
            super().__init__(interval, function)
            late.append(function)

    monkeypatch.setattr(threading, "Timer", LateTimer)
    with running(HOLD, database) as process:
        thread = threading.Thread(target=lambda: write_lock(database, told.append).__enter__())
        thread.start()
        wait_until(lambda: late, what="a wait")
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
        thread.join()
    others = [(tmp_path / f"other{n}").open("w") for n in range(20)]
    for other in others:
        fcntl.flock(other, fcntl.LOCK_EX)
    late[0]()
    for other in others:
        other.close()
    assert told == [None]


def deferred(number: signal.Signals, *, in_thread: bool) -> list[str]:
    """What happens, in order, when a signal comes inside a transaction: in a process of its own."""
    order: list[str] = []
    with signals.deferring():
        before = signal.getsignal(number)
        try:
            if in_thread:
                thread = threading.Thread(target=_transaction, args=(number, order))
                thread.start()
                thread.join()
            else:
                _transaction(number, order)
            order.append("not delivered")
        except KeyboardInterrupt:
            order.append("delivered")
        assert signal.getsignal(number) is before
    return order


def _transaction(number: signal.Signals, order: list[str]) -> None:
    with held_back(STOPPING | ENDING):
        os.kill(os.getpid(), number)
        for _ in range(1000):  # time for Python to call handlers, if it would
            pass
        order.append("committed")


@pytest.mark.parametrize("in_thread", [False, True])
def test_ctrl_c_waits_for_the_commit(in_thread: bool) -> None:
    """It interrupts as ever, but after the transaction, whichever thread that is in."""
    assert forked(lambda: deferred(signal.SIGINT, in_thread=in_thread)).value == ["committed", "delivered"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_a_process_waits_for_the_commit(number: signal.Signals, tmp_path: Path) -> None:
    """And then ends it by that signal, as its parent is to see."""

    def work() -> None:
        with signals.deferring(), held_back(STOPPING), held_back(ENDING):
            os.kill(os.getpid(), number)
            (tmp_path / "committed").touch()

    assert forked(work).status == -number
    assert (tmp_path / "committed").exists()


@pytest.mark.parametrize("number", sorted(STOPPING))
def test_ctrl_z_waits_for_the_commit(number: signal.Signals, database: Path, tmp_path: Path) -> None:
    """A process that is stopped does not hold the lock; it goes on when it is continued."""

    def work() -> None:
        with signals.deferring():
            with held_back(STOPPING), write_lock(database):
                os.kill(os.getpid(), number)
                (tmp_path / "committed").touch()
            (tmp_path / "over").touch()

    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)  # as a shell does: a process group of its own, whose leader's parent is in another
        work()
        os._exit(0)
    assert os.waitpid(pid, os.WUNTRACED)[1] & 0xFF == 0x7F
    assert (tmp_path / "committed").exists() and not (tmp_path / "over").exists()
    with database.with_name("retour.db.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.kill(pid, signal.SIGCONT)
    assert os.waitpid(pid, 0)[1] == 0


def test_without_a_transaction_signals_act_at_once() -> None:
    """Ctrl-C while a command waits for the lock, or prints, is not held back."""

    def work() -> list[str]:
        try:
            with signals.deferring(), held_back(STOPPING):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0)
            return ["not delivered"]
        except KeyboardInterrupt:
            return ["delivered"]

    assert forked(work).value == ["delivered"]


def test_what_has_a_handler_keeps_it() -> None:
    """nohup's ignored SIGHUP, and handlers of a service, stay; afterwards all is as before."""

    def work() -> bool:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        before = {number: signal.getsignal(number) for number in STOPPING | ENDING}
        with signals.deferring():
            ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            signal.signal(signal.SIGTERM, print)
        kept = signal.getsignal(signal.SIGTERM) is print
        signal.signal(signal.SIGTERM, before[signal.SIGTERM])
        return ignored and kept and before == {number: signal.getsignal(number) for number in STOPPING | ENDING}

    assert forked(work).value is True
