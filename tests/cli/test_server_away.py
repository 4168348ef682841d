"""A database server that is away: a command says so and ends, a service waits, and takes mail when it is back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import stores
from lab.cluster import Cluster
from lab.daemon import Daemon
from lab.process import workspace
from lab.site import retour
from lab.wait import wait_until
from ordeals.client import Client

A = "anna@example.net"
COMMANDS = (["events"], ["check"], ["db", "status"], ["db", "upgrade"], ["suppressions", "add", A])


@pytest.fixture
def server() -> Iterator[Cluster]:
    """A server of its own, which may be stopped."""
    with workspace() as folder, Cluster(folder / "postgres") as server:
        server.make_template()
        yield server


@pytest.fixture
def office(server: Cluster, folder: Path) -> Iterator[Path]:
    """A configuration whose store is there."""
    made = retour("init", "--dir", folder / "retour", "--domain", "bounces.example.com")
    assert made.returncode == 0, made.stderr
    with stores.on(server):
        stores.move(folder / "retour/retour.toml")
        yield folder / "retour/retour.toml"


def test_a_command_says_so_in_one_sentence(server: Cluster, office: Path) -> None:
    """Exit status 75: try again later."""
    assert retour("db", "status", config=office).returncode == 0
    server.stop()
    for words in COMMANDS:
        done = retour(*words, config=office)
        assert (done.returncode, done.stdout) == (75, ""), words
        assert re.fullmatch(r"retour: postgresql\+psycopg://retour@/.*No such file or directory\n", done.stderr), words
    server.start()


def test_a_wrong_server_is_the_configurations_fault(server: Cluster, office: Path) -> None:
    """Exit status 78, of commands and of services, which systemd then does not start again."""
    office.write_text(re.sub(r"retour@/retour_\d+", "retour@/nowhere", office.read_text()))
    for words in (*COMMANDS, ["lmtpd"]):
        done = retour(*words, config=office)
        assert done.returncode == 78 and 'database "nowhere" does not exist' in done.stderr + done.stdout, words


def test_what_the_server_has_programs_for_is_left_to_them(office: Path, tmp_path: Path) -> None:
    """Backup, damage, and the room of what was deleted: which program is said."""
    for words, said in (
        (["backup", tmp_path / "b"], "pg_dump"),
        (["check"], "pg_amcheck"),
        (["compact"], "autovacuum"),
    ):
        done = retour("db", *words, config=office)
        assert done.returncode == (words != ["compact"]) and said in done.stderr + done.stdout


def test_a_service_waits_for_the_server(server: Cluster, folder: Path) -> None:
    """It starts, tells systemd what it waits for, answers 451, and takes mail as soon as the server answers."""
    with stores.on(server):
        daemon = Daemon(folder, [('store_timeout = "60s"', 'store_timeout = "1s"')])
        address = daemon.address(A)
        server.stop()
        with daemon:
            assert _status(daemon).startswith("STATUS=Waiting for the database")
            client = Client(daemon.socket)
            assert client.deliver(address, A) == 451
            server.start()
            wait_until(lambda: client.deliver(address, A) == 250, what="a report that is taken")
            client.close()
            wait_until(lambda: "database" not in _status(daemon), what="a status without trouble")
            assert daemon.child.log().count("error: database lost: ") == 1


def _status(daemon: Daemon) -> str:
    """What it told systemd of itself last."""
    return [state for state in daemon.child.heard() if state.startswith("STATUS=")][-1]
