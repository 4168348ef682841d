"""The services while their log cannot be written: its reader has gone, or never reads, or the disk is full."""

from __future__ import annotations

import os
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from lab.process import Child, workspace
from lab.reports import hard_bounce
from lab.site import RETOUR, Site
from lab.wait import PATIENCE, wait_until

STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"

[[hook]]
name = "file"
on = ["all"]
command = ["/usr/bin/tee", "-a", "FILE"]
"""
TROUBLES = ("reader gone", "never read", "disk full")
SERVICES = ("milter", "lmtpd", "courier")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A Postfix, a store and a configuration for all tests; each starts the service that it is about."""
    with workspace() as folder:
        streams = STREAMS.replace("FILE", str(folder / "events"))
        with Site(folder, streams, services=(), settings={"least": "0"}) as site:
            yield site


@pytest.fixture(params=TROUBLES)
def stderr(request: pytest.FixtureRequest) -> Iterator[int]:
    """A standard error that takes nothing."""
    if request.param == "disk full":
        descriptor = os.open("/dev/full", os.O_WRONLY)
        yield descriptor
        os.close(descriptor)
        return
    reader, writer = os.pipe()
    if request.param == "reader gone":
        os.close(reader)
    else:
        _fill(writer)
    yield writer
    os.close(writer)
    if request.param == "never read":
        os.close(reader)


def _fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x" * 4096)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x")
    os.set_blocking(pipe, True)


def service(site: Site, name: str, stderr: int) -> Child:
    return Child([*RETOUR, name, "--config", site.config], folder=site.folder, name=name, stderr=stderr)


def address(site: Site, to: str) -> str:
    """A VERP address with a send record behind it."""
    return site.json("token", "make", "--stream", "news", "--to", to)[0]["token"]


def came_back(site: Site, to: str) -> list[str]:
    return [event["delivered_to"] for event in site.events("--address", to) if event["kind"] == "bounce"]


def test_reports_are_recorded_each_for_its_own_token(site: Site, stderr: int, request: pytest.FixtureRequest) -> None:
    """250 for each, refusals as ever, and SIGTERM ends the daemon with 0."""
    names = [f"{n}@{request.node.callspec.id.replace(' ', '-')}.example" for n in range(3)]
    tokens = {name: address(site, name) for name in names}
    forged = tokens[names[0]].translate(str.maketrans("abcd", "bcda"))
    with service(site, "lmtpd", stderr) as daemon:
        daemon.wait_ready()
        with smtplib.LMTP(str(site.postfix.sockets / "lmtp.sock")) as session:
            for name, to in tokens.items():
                with pytest.raises(smtplib.SMTPRecipientsRefused):
                    session.sendmail("", [forged], b"Subject: x\r\n\r\nx\r\n")
                assert session.sendmail("", [to], hard_bounce(name).encode()) == {}
        assert daemon.stop() == 0
    assert [came_back(site, name) for name in names] == [[to] for to in tokens.values()]


def test_mail_is_stamped(site: Site, stderr: int, request: pytest.FixtureRequest) -> None:
    """Each message, the refusal of a suppressed recipient included, and SIGTERM ends the milter with 0."""
    domain = "example.net"
    user = request.node.callspec.id.replace(" ", "-")
    assert site.retour("suppressions", "add", f"gone+{user}@{domain}").returncode == 0
    with service(site, "milter", stderr) as milter:
        milter.wait_ready()
        for number in range(3):
            assert 550 in site.send("news@example.com", f"gone+{user}@{domain}").codes
            to = f"ok+{user}{number}@{domain}"
            assert site.send("news@example.com", to).accepted
            assert site.destination.wait_to(to).sender.startswith("b-")
        assert milter.stop() == 0


def test_what_is_due_is_carried_out(site: Site, stderr: int, request: pytest.FixtureRequest) -> None:
    """Once, and noted as done; and SIGTERM ends the courier with 0."""
    events = site.folder / "events"
    user = request.node.callspec.id.replace(" ", "-")
    events.write_text("")
    with service(site, "courier", stderr) as courier:
        courier.wait_ready()
        for number in range(3):
            assert site.retour("suppressions", "add", f"hook{number}@{user}.example").returncode == 0
            wait_until(lambda: site.outbox() == [], what="an empty outbox", seen=site.outbox)
        assert courier.stop() == 0
    assert [f"hook{n}@{user}.example" in events.read_text() for n in range(3)] == [True] * 3


@pytest.mark.parametrize("name", SERVICES)
def test_a_closed_standard_error_is_borne(site: Site, name: str) -> None:
    """The number 2 may be a socket or the database by then: nothing is written to it."""
    argv = ["bash", "-c", 'exec 2>&-; exec "$@"', "bash", *RETOUR, name, "--config", site.config]
    with Child(argv, folder=site.folder, name=name) as child:
        child.wait_ready()
        assert child.stop() == 0


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_manager_that_does_not_read_holds_up_nobody(site: Site, name: str, tmp_path: Path) -> None:
    """Its socket is full: reload and SIGTERM work all the same."""
    path = str(tmp_path / "notify")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(path)
        _fill_queue(path)
        argv = ["env", f"NOTIFY_SOCKET={path}", *map(str, RETOUR), name, "--config", str(site.config)]
        with Child(argv, folder=site.folder, name=f"{name}-unheard") as child:
            child.wait_for_log(f"{name} ready")
            assert child.stop() == 0
            assert f"{name} stopped" in child.log()


def _fill_queue(path: str) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sender, suppress(BlockingIOError):
        sender.setblocking(False)
        while True:
            sender.sendto(b"X=1", path)


def test_who_reads_again_hears_what_was_dropped(tmp_path: Path) -> None:
    """All lines are read up to some point, then how many were dropped, and each line whole."""
    reader, writer = os.pipe()
    script = """
import structlog, sys
from retour_cli.services import log_writer, logs
log_writer.MAX_WAITING_OCTETS = 200_000
logs.set_up("retour-lmtpd")
for number in range(10_000):
    structlog.get_logger().info("line", number=number)
print("all logged", flush=True)
sys.stdin.read()
"""

    argv = [sys.executable, "-c", script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writer) as logging:
        os.close(writer)
        assert logging.stdin and logging.stdout
        assert logging.stdout.readline() == b"all logged\n"
        with os.fdopen(reader, "rb") as log:
            logging.stdin.close()
            lines = log.read().decode().splitlines()
        assert logging.wait(PATIENCE) == 0
    assert "log lines dropped" in lines[-1]
    numbers = [int(line.rpartition("number=")[2]) for line in lines[:-1]]
    assert numbers == list(range(len(numbers)))
    assert int(lines[-1].rpartition("count=")[2]) == 10_000 - len(numbers)
