"""Wrapped: a report that a gateway sends on inside a message of its own, and all that only looks like one."""

from __future__ import annotations

import base64

import pytest

from retour_bounces import read
from retour_bounces.evidence import passages

DAEMON = "Mail Delivery System <MAILER-DAEMON@mx.example.com>"
TITLE = "Undelivered mail"
ORIGINAL = "From: us@example.org\nTo: user@example.com\nMessage-ID: <1@example.org>\n\nhello\n"
FIELDS = "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; user@example.com\nAction: failed\nStatus: 5.1.1\n"
FOOT = "This e-mail is confidential. Example Ltd, 1 High Street."


def multipart(boundary: str, kind: str, *parts: tuple[str, str]) -> str:
    """A body with the field before it."""
    inner = "".join(f"--{boundary}\nContent-Type: {kind}\n\n{body}\n" for kind, body in parts)
    return f'MIME-Version: 1.0\nContent-Type: {kind}; boundary="{boundary}"\n\n{inner}--{boundary}--\n'


def head(sender: str = DAEMON, subject: str = TITLE, path: str | None = "<>", more: str = "") -> str:
    """The header of a message."""
    way = "" if path is None else f"Return-Path: {path}\n"
    return f"{way}From: {sender}\nTo: us@example.org\nSubject: {subject}\n{more}"


STATUS = multipart(
    "s",
    "multipart/report; report-type=delivery-status",
    ("text/plain", "It did not work."),
    ("message/delivery-status", FIELDS),
    ("message/rfc822", ORIGINAL),
)
SAID = "Your message could not be delivered:\n\n<user@example.com>: 550 5.1.1 user unknown\n\n--- Original message:"
WORDS = f"\n{SAID}\n\n{ORIGINAL}"
INNER = {"fields": head() + STATUS, "words": head() + WORDS}


def wrapped(inner: str, outer: str = head(), text: str | None = FOOT, kind: str = "message/rfc822") -> bytes:
    """A message inside another."""
    parts = [("text/plain", text)] if text is not None else []
    return (outer + multipart("w", "multipart/mixed", *parts, (kind, inner))).encode()


def failed(data: bytes) -> list[str | None]:
    """The failed recipients."""
    return [one.recipient for one in read(data).reports if one.action == "failed"]


@pytest.mark.parametrize("form", INNER)
@pytest.mark.parametrize("text", [FOOT, None, ""])
def test_a_report_inside_a_gateways_message_is_read(form: str, text: str | None) -> None:
    """With a disclaimer above it or nothing; what came back is the message inside."""
    report = read(wrapped(INNER[form], text=text))
    assert report.kind == "bounce"
    assert [(one.recipient, one.reason) for one in report.reports] == [("user@example.com", "userunknown")]
    assert report.original.message_id == "<1@example.org>"


@pytest.mark.parametrize(
    "outer",
    [
        head(path=None),
        head("Mail Gateway <gateway@example.com>"),
        head("Post room <post@example.com>"),
        head("Post room <post@example.com>", "[EXTERNAL] Undelivered mail"),
        head(more="Auto-Submitted: auto-replied\n"),
    ],
)
def test_a_gateway_is_known_by_its_null_sender_or_its_name(outer: str) -> None:
    """It keeps the Subject, or one that tells of a report."""
    assert failed(wrapped(INNER["fields"], outer)) == ["user@example.com"]


def test_two_gateways_may_have_wrapped_it() -> None:
    """Each of them adds a message."""
    once = wrapped(INNER["fields"]).decode()
    assert failed((head() + multipart("x", "multipart/mixed", ("message/rfc822", once))).encode()) == [
        "user@example.com"
    ]


def test_an_encoded_message_inside_is_read() -> None:
    """Gateways that know no better encode what they attach."""
    coded = base64.encodebytes(INNER["fields"].encode()).decode()
    kind = "message/rfc822\nContent-Transfer-Encoding: base64"
    assert failed(wrapped(coded, kind=kind)) == ["user@example.com"]


def test_explain_shows_the_lines_inside() -> None:
    """What a wrapped report rests on stands in it."""
    data = wrapped(INNER["fields"], text="")
    assert "Final-Recipient: rfc822; user@example.com" in [one.line for one in passages(data, read(data))]


def test_a_delay_inside_stays_one() -> None:
    """Wrapping changes nothing of what it says."""
    data = wrapped(INNER["fields"].replace("Action: failed\nStatus: 5.1.1", "Action: delayed\nStatus: 4.4.1"))
    assert [(read(data).kind, one.action) for one in read(data).reports] == [("delayed", "delayed")]


PEOPLE = {
    "who writes in their own name": head("Ann <ann@example.com>", path="<ann@example.com>"),
    "who forwards": head(subject="Fwd: Undelivered mail"),
    "who answers": head(subject="Re: Undelivered mail"),
    "who answers by field": head(more="In-Reply-To: <1@example.org>\n"),
    "a postmaster": head("Postmaster <postmaster@example.com>", path="<postmaster@example.com>"),
    "a list": head(more="List-Id: <l.example.org>\n"),
    "another subject": head(subject="Please look"),
    "a person whose path is gone": head("Ann <ann@example.com>", path=None),
}


@pytest.mark.parametrize("who", PEOPLE)
def test_a_report_that_a_person_attaches_fails_nobody(who: str) -> None:
    """It is theirs, not ours."""
    for inner in INNER.values():
        assert failed(wrapped(inner, PEOPLE[who])) == []


def test_what_a_person_wrote_inside_a_gateways_message_is_no_report() -> None:
    """The inner message must come from a mail system too."""
    inner = head("Ann <ann@example.com>", path="<ann@example.com>") + WORDS
    assert failed(wrapped(inner, text="")) == []


def test_what_a_report_says_itself_comes_before_the_report_that_it_returns() -> None:
    """A report about a report names its own recipient."""
    text = "Your message could not be delivered to:\n\n  other@example.net\n\nUser unknown\n"
    assert failed(wrapped(INNER["fields"], text=text)) == ["other@example.net"]


@pytest.mark.parametrize("form", INNER)
def test_a_cut_message_names_nobody_wrongly(form: str) -> None:
    """Half an address is none."""
    data = wrapped(INNER[form])
    for end in range(len(data)):
        assert set(failed(data[:end])) <= {"user@example.com"}, end
