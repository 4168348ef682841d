"""Erasing: a person who has been through everything is nowhere any more, and is still suppressed."""

from __future__ import annotations

import base64
import gzip
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from lab.reports import failed
from retour_bounces import Report
from retour_policy.messages.returned import ReturnRecorder
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.outbox import queue
from retour_policy.outbox.spool import Spool, new_name
from retour_policy.store import sends
from retour_policy.store.outbox import NewItem
from retour_policy.store.sends import NewSend
from retour_policy.tokens import token

BOB = "bob@other.example"
HOOK = '\n[[hook]]\nname = "all"\non = ["all"]\ncommand = ["/bin/true"]\n'
PEOPLE = {
    "anna.lee@example.net": ("anna.lee@", "anna.lee=", "=anna.lee", "anna.lee%40"),
    "jürgen@bücher.example": (
        "jürgen@",
        "jürgen=",
        "j\\u00fcrgen@",
        "j\\u00fcrgen=",
        "=j\\u00fcrgen",
        "j%c3%bcrgen%40",
    ),
}


def encoded(person: str) -> str:
    return base64.encodebytes(f"No such user: <{person}>".encode()).decode()


class Life:
    """All that can happen to an address."""

    def __init__(self, office: Any, person: str) -> None:
        self.office, self.person = office, person
        self.local, _, self.domain = person.partition("@")
        self.context = office.context
        self.ring, self.now = self.context.ring.ring, self.context.clock()
        self.spool = Spool(self.context.config.spool.dir)
        self.recorder = ReturnRecorder.of(
            self.context.config, self.context.ring, self.context.ledger, self.context.clock
        )
        self.number = 0

    def sent(self, *to: str, **said: Any) -> int:
        name = new_name(self.now + 10**9)
        self.spool.put(name, f"To: {', '.join(to)}\n\nDear reader\n".encode())
        new = NewSend("news", said.pop("sender", "news@example.com"), to, spool=name, **said)
        draw = lambda: token.draw_id(self.now)  # noqa: E731
        return self.office.write(lambda connection: sends.record(connection, self.ring.address_secret, new, draw))

    def came(self, send: int | None, report: Report | None, *, to: str = "b-x@bounces.example.com") -> str:
        self.number += 1
        head = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64"
        part = f"{head}\n\n{encoded(self.person)}"
        plain = part if self.number % 2 else f"\n550 {self.person.upper()}: gone\n"
        arrival = ReturnedMessage(
            self.now, Route("verp" if send else "static", "news", send), to, self.person, plain.encode(),
            self.number.to_bytes(16, "big"), report,
        )  # fmt: skip
        return self.office.write(lambda connection: self.recorder.record(connection, arrival))

    def report(self, recipient: str, type_: str = "hard", blame: str = "recipient") -> Report:
        name = self.person.upper()
        said = f"550 5.1.1 <{name}>: the mailbox of Anna Lee is gone; see mailto:{self.local}%40{self.domain}"
        part = failed(
            recipient,
            type_,
            original_recipient=self.person,
            status="5.1.1",
            blame=blame,
            evidence=self.person,
            diagnostic=said,
        )
        return Report("bounce", (part,), recipient=recipient)

    def live(self) -> None:
        me = self.person
        verp = f"b-x+{self.local}={self.domain}@bounces.example.com"
        self.came(self.sent(me, message_id=f"<1.{self.domain}={self.local}@x>", tag=me), self.report(me), to=verp)
        self.came(self.sent(me), self.report(me, "soft"))
        self.came(self.sent(me), None)
        shared = self.sent(me, BOB, tag=f"order of {me}")
        self.came(shared, self.report(me))
        self.came(self.sent(BOB, sender=me), self.report(me))  # a conflict: Bob's token, this person's name
        self.came(None, self.report(me))
        self.came(None, None)
        self.came(None, None)
        self.came(None, Report("not-a-report"), to=f"bounces+{self.local}={self.domain}@example.com")
        self.came(1, self.report(me))  # the record of the send was deleted
        dead = NewItem(self.now, "event", "hook:all", "bounce.hard", b"{}", error=f"exit 1: no contact {me}")
        self.office.write(lambda connection: queue.put(connection, dead))
        self.office("suppressions", "add", me, "--note", f"{me} phoned")
        self.office("suppressions", "add", BOB, "--scope", "shop", "--note", f"the same person as {me.upper()}")
        found = self.office.json("address", "show", me)[0]["suppressions"]
        assert found


@pytest.mark.parametrize("person", PEOPLE)
def test_who_was_erased_is_nowhere(office: Any, person: str) -> None:
    """Neither in any row, nor in what is left in the file of rows that are gone, nor in a copy."""
    office.config.write_text(office.config.read_text() + HOOK)
    office.edit('name = "news"\n', 'name = "news"\nretry = { interval = "1h", count = 2 }\n')
    life = Life(office, person)
    life.live()
    before = everything(office)
    assert all(part in before for part in ("userunknown", "anna lee is gone", "phoned", "the same person as"))
    assert any(form in before for form in PEOPLE[person]) and encoded(person).lower().splitlines()[0] in before
    office("erase", person, "--yes")
    text = everything(office)
    for form in (*PEOPLE[person], "phoned", encoded(person).lower().splitlines()[0]):
        place = text.find(form)
        assert place < 0, text[max(0, place - 300) : place + 100]
    assert "the same person as (erased)" in office("suppressions", "list").stdout
    assert len(copies(office)) == 1  # of the message to Bob that the erased person sent
    assert office.json("rebuild") == []
    (story,) = office.json("address", "show", person)
    assert [one["cause"] for one in story["suppressions"]] == ["operator"]
    office("suppressions", "import", put(office, f"address,note\n{person},phoned\n"))
    life.came(life.sent(person), None)
    life.came(life.sent(person), life.report(person))
    assert [row for row in facts(office) if any(form in row for form in (*PEOPLE[person], "anna lee"))] == []


def test_who_is_only_mentioned_is_erased_too(office: Any) -> None:
    """Not an address of ours, and named by an unmatched report; a second time there is nothing."""
    life = Life(office, "anna.lee@example.net")
    life.came(None, life.report("anna.lee@example.net"))
    office("erase", "anna.lee@example.net", "--yes")
    assert "anna.lee" not in everything(office)
    assert "not known" in office("erase", "anna.lee@example.net", "--yes", status=1).stderr


def put(office: Any, text: str) -> Path:
    path = office.home / "again.csv"
    path.write_text(text)
    return path


def facts(office: Any) -> list[str]:
    with sqlite3.connect(office.home / "retour.db") as connection:
        rows = connection.execute("SELECT detail FROM fact UNION ALL SELECT text FROM address").fetchall()
    return [str(row).lower() for (row,) in rows]


def copies(office: Any) -> list[Path]:
    return list(office.context.config.spool.dir.glob("*/*.gz"))


def everything(office: Any) -> str:
    """A dump of the database, its file as it lies on the disk with its log, and all copies; in lower case."""
    with sqlite3.connect(office.home / "retour.db") as connection:
        dump = "\n".join(connection.iterdump())
        for table in ("outbox", "unread"):
            column = "body" if table == "outbox" else "head"
            rows = connection.execute(f"SELECT {column} FROM {table}").fetchall()
            dump += "\n".join(bytes(row[0]).decode("utf-8", "replace") for row in rows)
    raw = b"".join(path.read_bytes() for path in sorted(office.home.glob("retour.db*")))
    kept = [gzip.decompress(path.read_bytes()) for path in copies(office)]
    return (dump + raw.decode("utf-8", "replace") + b"".join(kept).decode()).lower()


def test_a_copy_that_cannot_be_removed_is_named(office: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next run does what is left."""
    life = Life(office, "anna.lee@example.net")
    life.sent("anna.lee@example.net")

    def refuse(self: Spool, name: str) -> None:
        raise PermissionError(13, "Permission denied", name)

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "remove", refuse)
        assert ".gz: Permission denied" in office("erase", "anna.lee@example.net", "--yes", status=1).stderr
    assert len(copies(office)) == 1
    office("erase", "anna.lee@example.net", "--yes")
    assert copies(office) == []
