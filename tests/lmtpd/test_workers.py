"""Workers: several processes on the same sockets, of which one dies, and a reload and a stop that reach all."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lab.daemon import Daemon
from lab.process import members
from lab.wait import wait_until

REPORT = """\
From: MAILER-DAEMON@mx.example.net
Subject: Undelivered
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; {to}
Action: failed
Status: 5.1.1
--b--
.
"""


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    """With two workers."""
    with Daemon(folder, [("workers = 1", "workers = 2")]) as daemon:
        yield daemon


def workers(daemon: Daemon) -> set[int]:
    """The ids of the workers."""
    everybody = {int(one.partition(" ")[0]) for one in members(daemon.child.pid)}
    return everybody - {daemon.child.pid}


def deliver(daemon: Daemon, address: str, to: str) -> bytes:
    """The answer to a report over a connection of its own; empty where that was cut."""
    with closing(daemon.connect()) as connection, connection.makefile("rwb") as session:
        try:
            session.write(f"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<{address}>\r\nDATA\r\n".encode())
            session.write(REPORT.format(to=to).replace("\n", "\r\n").encode())
            session.flush()
            while line := session.readline():
                if line.startswith((b"250 2.0.0", b"451", b"421")):
                    return line
        except OSError:
            pass
        return b""


def recorded(daemon: Daemon) -> int:
    """How many reports are in the store."""
    with closing(sqlite3.connect(daemon.database)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM fact WHERE kind = 'bounce'").fetchone()
        return int(count)


def test_a_worker_that_dies_is_started_again_and_nothing_answered_is_lost(daemon: Daemon) -> None:
    """Whatever was answered 250 is in the store once; what was cut off comes again."""
    sent = daemon.addresses(12, "u")
    for number, (address, to) in enumerate(sent):
        if number == 4:
            before = workers(daemon)
            os.kill(min(before), signal.SIGKILL)
        wait_until(lambda: deliver(daemon, address, to).startswith(b"250 2.0.0"), what="250")  # noqa: B023
    daemon.child.wait_for_log("worker died")
    wait_until(lambda: len(workers(daemon)) == 2 and workers(daemon) != before, what="a new worker")
    assert recorded(daemon) == 12


def test_a_reload_reaches_all_and_a_stop_too(daemon: Daemon) -> None:
    """Each worker reads the configuration again; after SIGTERM none is left, and no socket's path."""
    daemon.child.send_signal(signal.SIGUSR1)
    wait_until(lambda: daemon.child.log().count("configuration reloaded") == 2, what="two reloads")
    assert daemon.child.states.count("READY=1") >= 1
    assert daemon.child.stop() == 0
    assert not workers(daemon) and not daemon.socket.exists()
    assert daemon.child.log().count("lmtpd stopped") == 3  # each worker, and who looks after them


def test_workers_on_a_path_that_was_removed_are_replaced(daemon: Daemon) -> None:
    """A new socket is opened there, and new workers answer on it."""
    before = workers(daemon)
    ((address, to),) = daemon.addresses(1, "u")
    daemon.socket.unlink()
    wait_until(daemon.socket.exists, what="a new socket")
    wait_until(lambda: deliver(daemon, address, to).startswith(b"250 2.0.0"), what="250")
    wait_until(lambda: len(workers(daemon)) == 2 and not workers(daemon) & before, what="other workers")
