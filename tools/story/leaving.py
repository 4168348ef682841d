"""The last scene: recipients who want no more mail say so, and the next message to them is refused."""

from __future__ import annotations

import re
from http.client import HTTPConnection
from urllib.parse import urlsplit

from lab.destination import Arrived
from lab.wait import PATIENCE
from lab.web import ONE_CLICK, URLENCODED
from story.stage import CLUB, Stage

ROSA, OTTO, WILMA = "rosa@example.net", "otto@example.net", "wilma@example.net"
SENDER = "club@example.com"
LINK = re.compile(r"<(http://[^>]*/u/[a-z2-7]{40})>")
ADDRESS = re.compile(r"<mailto:([^?>]+)")
COMPLAINT = """\
Subject: Complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b

This is an abuse report.
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Example/1.0
Version: 1

--b
Content-Type: message/rfc822

{returned}
--b--
"""


def people_leave(stage: Stage) -> None:
    """One click, a mail and a complaint; each is followed by a refusal."""
    tell = stage.tell
    tell.title("11. Recipients want no more mail")
    tell.say("The garden club's mail can be unsubscribed from, by one click (RFC 8058). `retour web` takes it:")
    tell.quote(stage.hide(CLUB))
    _clicks(stage)
    _writes(stage)
    _complains(stage)


def _clicks(stage: Stage) -> None:
    tell = stage.tell
    arrived = _sent(stage, ROSA)
    fields = [f"{name}: {arrived.headers(name)[0]}" for name in ("List-Unsubscribe", "List-Unsubscribe-Post")]
    tell.quote("\n".join(fields))
    found = LINK.search(fields[0])
    tell.need("It carries a link of its own, signed.", bool(found), True)
    link = found[1] if found else ""
    tell.check("To look at the page, as scanners of links do, changes nothing.", _ask("GET", link), 200)
    tell.check("So Rosa is not suppressed.", ROSA in stage.suppressed(), False)
    tell.gap()
    tell.say("Rosa presses the button of her mail program, which posts List-Unsubscribe=One-Click to the link:")
    tell.check("The answer is 200, after the commit.", _ask("POST", link, ONE_CLICK), 200)
    said = stage.type("events", "--address", ROSA)
    tell.check("It is recorded.", said, re.compile("unsubscribe"))
    _refused(stage, ROSA)


def _writes(stage: Stage) -> None:
    tell = stage.tell
    tell.say("Otto's mail program knows no one click. It writes to the other address in that field:")
    found = ADDRESS.search(_sent(stage, OTTO).headers("List-Unsubscribe")[0])
    tell.need("There is one, signed, too.", bool(found), True)
    stage.mail_from_outside(OTTO, found[1] if found else "", headers={"Subject": "unsubscribe"})
    stage.wait_for_events((OTTO, "unsubscribe"))
    _refused(stage, OTTO)


def _complains(stage: Stage) -> None:
    tell = stage.tell
    tell.say("Wilma presses another button, the one that says junk. Her provider sends a complaint (RFC 5965):")
    arrived = _sent(stage, WILMA)
    returned = "\n".join(f"{name}: {value}" for name, value in arrived.message.items())
    stage.mail_from_outside("fbl@example.net", arrived.sender, data=COMPLAINT.format(returned=returned))
    stage.wait_for_events((WILMA, "complaint"))
    _refused(stage, WILMA)


def _sent(stage: Stage, to: str) -> Arrived:
    stage.mail(SENDER, to, headers={"Subject": "Seeds for spring"})
    return stage.arrives(1, to=to)


def _refused(stage: Stage, to: str) -> None:
    result = stage.mail(SENDER, to, headers={"Subject": "More seeds"}, dialogue=True)
    stage.tell.check("The next message is refused.", result.reply_to(f"RCPT TO:<{to}>").code, 550)
    stage.tell.gap()


def _ask(method: str, link: str, body: bytes | None = None) -> int:
    """The status of a request."""
    parts = urlsplit(link)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        connection.request(method, parts.path, body, URLENCODED if body else {})
        return connection.getresponse().status
    finally:
        connection.close()
