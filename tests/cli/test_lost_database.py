"""The database removed or replaced under running services, on a real Postfix: no 250 for what is not in the file."""

from __future__ import annotations

import re
import smtplib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from lab.process import workspace
from lab.reports import hard_bounce
from lab.site import Site
from lab.wait import wait_until

STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
"""


@pytest.fixture
def site() -> Iterator[Site]:
    """A milter and an LMTP daemon at work."""
    with workspace() as folder, Site(folder, STREAMS, services=("milter", "lmtpd", "courier")) as site:
        yield site


def files(site: Site) -> list[Path]:
    return [site.home / f"retour.db{end}" for end in ("", "-wal", "-shm")]


def back_up(site: Site) -> Path:
    backup = site.home / "backup.db"
    with closing(sqlite3.connect(files(site)[0])) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    return backup


def delete(site: Site) -> None:
    for path in files(site):
        path.unlink(missing_ok=True)


def replace(site: Site) -> None:
    backup = back_up(site)
    delete(site)
    backup.rename(files(site)[0])


def link(site: Site) -> None:
    backup = back_up(site)
    delete(site)
    files(site)[0].symlink_to(backup)


def remove_log(site: Site) -> None:
    files(site)[1].unlink()


class Traffic:
    """Mail out and reports back, each remembered if it was acknowledged."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._count = 0
        self.sent: set[str] = set()
        self.reported: set[str] = set()
        self._senders: list[tuple[str, str]] = []

    def prepare(self, count: int) -> None:
        """Messages that went out while all was well, to be reported later."""
        for _ in range(count):
            to = self._next()
            assert self._site.send("news@example.com", to).accepted
            self.sent.add(to)
            self._senders.append((to, self._site.destination.wait_to(to).sender))

    def send(self) -> bool:
        """One message out; whether it was taken."""
        to = self._next()
        taken = self._site.send("news@example.com", to).accepted
        self.sent |= {to} if taken else set()
        return taken

    def report(self) -> bool:
        """The same report until somebody takes it, as Postfix does; whether it was taken now."""
        to, sender = self._senders[0]
        message = hard_bounce(to, header=f"Message-ID: <{to}>\n").replace("\n", "\r\n")
        with suppress(smtplib.SMTPException), smtplib.LMTP(str(self._site.postfix.sockets / "lmtp.sock")) as lmtp:
            lmtp.sendmail("", [sender], message)
            self.reported.add(to)
            self._senders.pop(0)
            return True
        return False

    def _next(self) -> str:
        self._count += 1
        return f"ok+{self._count}@example.net"

    def missing(self) -> set[str]:
        """What was acknowledged and is not in the file that is at the path now."""
        sent = "SELECT text FROM address JOIN send_recipient ON address_id = address.id"
        reported = "SELECT text FROM address JOIN fact ON address_id = address.id WHERE kind = 'bounce'"
        with closing(sqlite3.connect(f"file:{files(self._site)[0]}?mode=rw", uri=True)) as connection:
            there = [{text for (text,) in connection.execute(query)} for query in (sent, reported)]
        return (self.sent - there[0]) | (self.reported - there[1])


@pytest.mark.parametrize("harm", [replace, link, remove_log], ids=lambda harm: harm.__name__)
def test_what_services_acknowledge_is_in_the_file_that_is_there(site: Site, harm: Callable[[Site], None]) -> None:
    """A restore, a link or a removed log under their feet: they go on with what is there, and say so once."""
    traffic = Traffic(site)
    traffic.prepare(4)
    assert traffic.report()
    harm(site)
    wait_until(traffic.report, what="a report that is taken again")
    wait_until(traffic.send, what="a message that is taken again")
    assert traffic.report() and traffic.report() and traffic.send()
    assert traffic.missing() == set()
    for name in ("milter", "lmtpd"):
        log = site.services[name].wait_for_log("database opened again") and site.services[name].log()
        assert len(re.findall(r"error: database lost:", log)) == 1, log


def test_while_the_database_is_away_mail_waits(site: Site) -> None:
    """Deleted: 451 to all, and no empty database in its place; with the backup back all goes on, without a restart."""
    traffic = Traffic(site)
    traffic.prepare(3)
    assert traffic.report()
    backup = back_up(site)
    delete(site)
    for _ in range(3):
        assert not traffic.report() and not traffic.send()
    assert not files(site)[0].exists()
    backup.rename(files(site)[0])
    wait_until(traffic.report, what="a report that is taken again")
    wait_until(traffic.send, what="a message that is taken again")
    assert traffic.missing() == set()


def test_an_empty_database_in_its_place_takes_no_mail(site: Site) -> None:
    """Made by hand, or by a tool that found none: as at the start it needs `retour db upgrade`, and the log says so."""
    traffic = Traffic(site)
    traffic.prepare(1)
    delete(site)
    files(site)[0].touch()
    assert not traffic.report() and not traffic.send()
    site.services["lmtpd"].wait_for_log("database is empty; run `retour db upgrade`")
    delete(site)
    site.retour("db", "upgrade")
    wait_until(traffic.send, what="a message that is taken again")
    traffic.sent = {to for to in traffic.sent if to != "ok+1@example.net"}  # it was in the file that was deleted
    assert traffic.missing() == set()
