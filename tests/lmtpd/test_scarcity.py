"""The LMTP daemon without descriptors, its sockets' paths, or a database that is whole: it says so, and goes on."""

from __future__ import annotations

import itertools
import re
import resource
import signal
import smtplib
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lab.ports import answers
from lab.process import Child, workspace
from lab.reports import hard_bounce
from lab.site import DOMAIN, RETOUR, retour
from lab.wait import PATIENCE, wait_until
from retour_lmtpd.socketmap import netstring

STREAM = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
"""
LATER = (451, b"4.3.0 try again later")
RECORDED = (250, b"2.0.0 recorded")
numbers = itertools.count(1)


class Daemon:
    """`retour lmtpd` in a folder of its own."""

    def __init__(self, folder: Path, old: str = "", new: str = "") -> None:
        self.config, self.sockets = folder / "r/retour.toml", folder / "r/sockets"
        assert retour("init", "--dir", folder / "r", "--domain", DOMAIN).returncode == 0
        text = self.config.read_text().partition("[[stream]]\n")[0] + STREAM
        assert old in text
        self.config.write_text(text.replace(old, new))
        self.child = Child([*RETOUR, "lmtpd", "--config", self.config], folder=folder, name="lmtpd")

    @contextmanager
    def running(self) -> Iterator[Daemon]:
        with self.child:
            self.child.wait_ready()
            yield self

    def address(self) -> str:
        """A VERP address with a send record behind it."""
        made = retour("token", "make", "--stream", "news", "--to", "bob@example.net", config=self.config)
        return made.stdout.splitlines()[0]

    def session(self) -> smtplib.LMTP:
        """A client that has said LHLO."""
        client = smtplib.LMTP(str(self.sockets / "lmtp.sock"))
        assert client.sock
        client.sock.settimeout(PATIENCE)
        client.ehlo_or_helo_if_needed()
        return client

    def recorded(self) -> int:
        """How many reports are in the database."""
        return len(retour("events", "--kind", "bounce", "--json", config=self.config).stdout.splitlines())


def deliver(client: smtplib.LMTP, address: str) -> tuple[int, bytes]:
    """The reply to a report that did not come before."""
    client.mail("")
    assert client.rcpt(address)[0] == 250
    return client.data(hard_bounce("bob@example.net", header=f"Message-ID: <{next(numbers)}@mx.example.net>\n"))


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with workspace() as folder, Daemon(folder).running() as daemon:
        yield daemon


@contextmanager
def without_descriptors(daemon: Daemon) -> Iterator[None]:
    """The limit is what is open now, so that no further one can be had."""
    taken = {int(path.name) for path in Path(f"/proc/{daemon.child.pid}/fd").iterdir()}
    free = next(number for number in range(len(taken) + 1) if number not in taken)
    soft, hard = resource.prlimit(daemon.child.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.child.pid, resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.prlimit(daemon.child.pid, resource.RLIMIT_NOFILE, (soft, hard))


def said(path: Path) -> bytes:
    """All that is said to a client, until the connection is closed."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        return b"".join(iter(lambda: client.recv(1000), b""))


def test_without_descriptors_clients_are_told_to_come_again(daemon: Daemon) -> None:
    """421 over LMTP, TEMP to a lookup, a line in the log however many come; with descriptors again all is well."""
    address = daemon.address()
    with without_descriptors(daemon):
        for _ in range(5):
            assert said(daemon.sockets / "lmtp.sock") == b"421 4.3.2 too many connections, try again later\r\n"
            assert said(daemon.sockets / "lookup.sock") == netstring(b"TEMP try again later")
    with daemon.session() as client:
        assert deliver(client, address) == RECORDED
    daemon.child.wait_for_log("descriptors available again")
    assert daemon.child.log().count("out of descriptors") == 2  # one for each socket


def test_a_session_that_is_open_goes_on_without_descriptors(daemon: Daemon) -> None:
    """The store cannot be opened, so it hears 451; later 250. What is in the database is what was answered 250."""
    address, before = daemon.address(), daemon.recorded()
    with daemon.session() as client:
        with without_descriptors(daemon):
            assert deliver(client, address) == LATER
        assert deliver(client, address) == RECORDED
    assert daemon.recorded() == before + 1


def test_too_many_lookups_are_told_too() -> None:
    """A connection beyond `max_connections`: the answer that Postfix takes for a temporary failure, not silence."""
    with (
        workspace() as folder,
        Daemon(folder, "max_connections = 200", "max_connections = 1").running() as daemon,
        socket.socket(socket.AF_UNIX) as first,
    ):
        first.connect(str(daemon.sockets / "lookup.sock"))
        first.sendall(netstring(b"bounce nobody@bounces.example.com"))
        assert first.recv(100) == netstring(b"NOTFOUND ")
        assert said(daemon.sockets / "lookup.sock") == netstring(b"TEMP try again later")


@pytest.mark.parametrize("name", ["lmtp.sock", "lookup.sock"])
@pytest.mark.parametrize("how", ["by a reload", "by itself"])
def test_a_path_that_was_removed_is_made_again(daemon: Daemon, name: str, how: str) -> None:
    """Somebody cleaned up in the sockets' folder. Sessions that were open go on."""
    path, address = daemon.sockets / name, daemon.address()
    with daemon.session() as client:
        path.unlink()
        if how == "by a reload":
            daemon.child.send_signal(signal.SIGUSR1)
        wait_until(lambda: path.exists() and answers(path), what="the socket")
        assert deliver(client, address) == RECORDED
    assert re.search(f"socket was gone, opened again.*{name}", daemon.child.log())


@pytest.mark.sqlite
def test_on_a_damaged_database_reports_stay_with_the_mail_server() -> None:
    """It becomes damaged under the daemon: 451, and what to do in the log. Whole again: the report is recorded."""
    with workspace() as folder, Daemon(folder).running() as daemon:
        address, database = daemon.address(), folder / "r/retour.db"
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        whole = database.read_bytes()
        with database.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (len(whole) - 4096))
        with daemon.session() as client:
            assert deliver(client, address) == LATER
            found = daemon.child.wait_for_log(r"store is down, report stays with the mail server.*")
            assert f"{database}: the database is damaged" in found[0] and "docs/keeping.md" in found[0]
            with database.open("r+b") as file:
                file.write(whole)
            assert deliver(client, address) == RECORDED
        # Another process must look: SQLite's locks of this one are gone, since it has opened the file by itself.
        command = [*RETOUR, "events", "--kind", "bounce", "--json", "--config", daemon.config]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert len(done.stdout.splitlines()) == 1, done.stderr
