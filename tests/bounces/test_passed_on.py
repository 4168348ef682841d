"""Passed on: reports that people and their programs hand on are theirs, not reports; what stands around a
report changes nothing."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from retour_bounces import read

RETURNED = tomllib.loads((Path(__file__).parent / "returned.toml").read_text(encoding="utf-8"))["returned"]
TEXTS = [
    (case.get("subject", "Undelivered mail"), case["text"])
    for case in RETURNED
    if set(case) & {"reply", "fields"} == set()
]
ANN = "Return-Path: <ann@example.de>\nFrom: Ann <ann@example.de>\nTo: us@example.org\nMessage-ID: <2@example.de>\n"
UTF8 = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
DAEMON = "MAILER-DAEMON@mx.example.net"

WAYS: dict[str, Callable[[str, str], str]] = {
    "forwarded in Outlook's way, the Subject kept": lambda subject, text: (
        f"{ANN}Subject: {subject}\n{UTF8}\nSchau mal.\n\n________________________________\nVon: {DAEMON}\n"
        f"Gesendet: Dienstag\nAn: Ann\nBetreff: {subject}\n\n{text}"
    ),
    "copied under a Subject about mail": lambda subject, text: (
        f"{ANN}Subject: Help: mail returned\n{UTF8}\nHi, what is this that I got?\n\n{text}"
    ),
    "a ticket that repeats its Subject": lambda subject, text: (
        f"{ANN}Subject: [Ticket #5512] {subject}\n{UTF8}\nDear customer, we received your request:\n\n{text}"
    ),
    "a post to a list": lambda subject, text: (
        f"{ANN}List-Id: <l.example>\nSubject: [l] {subject}\n{UTF8}\nHas anybody seen this?\n\n{text}"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_report_that_a_person_passes_on_fails_nobody(way: str) -> None:
    """A person begins with words of their own, a report with what became of the message."""
    for subject, text in TEXTS:
        assert read(WAYS[way](subject, text).encode()).reports == (), text


def test_a_greeting_before_a_report_is_no_person() -> None:
    """A server without a telling name may greet its reader before it says what failed."""
    for greeting in ("Dear user,", "Hello us@example.org,", "Estimado usuario:", "尊敬的用户，您好！"):
        text = f"{greeting}\n\nYour message could not be delivered:\n\nuser@example.com: no such user\n"
        report = read(f"{ANN}Subject: Undeliverable mail\n{UTF8}\n{text}".encode())
        assert [one.recipient for one in report.reports] == ["user@example.com"], greeting


FEET = [
    "-- \nPostmaster Team\npostmaster2@foot.example",
    "--\nIT-Service\nit@foot.example | www.foot.example",
    "This e-mail is confidential. If you are not the intended recipient, notify\nlegal@foot.example.",
    "If you believe this is an error, please call us or write an e-mail to hotline@foot.example.",
    "Bei Fragen hilft Ihnen unser Team unter it@foot.example gern weiter.",
    "Si cree que se trata de un error, escriba a soporte@foot.example.",
    "You can reach our team at team@foot.example or +1 555 0100.",
    "This message was scanned by ScanCorp (scan@foot.example).",
    "ご不明な点は help@foot.example までご連絡ください。",
    "如有疑问请发邮件至 kefu@foot.example",
]
REPORTS = {
    "a sentence": ("Your message to user@example.com could not be delivered: the mailbox is full.", True),
    "a sentence that says why": ("User mailbox exceeds allowed size: user@example.com", True),
    "a heading": (
        "This message was undeliverable.\nThe following addresses were unknown:\n\nSMTP <user@example.com>",
        True,
    ),
    "an address and an error": ("Your message could not be delivered to:\n\n<user@example.com>: no such user", True),
    "nobody named": ("Your message could not be delivered: the mailbox is full.", False),
    "a note to all": ("On Saturday mail could not be delivered for an hour. All is well again.", False),
}


@pytest.mark.parametrize("report", REPORTS)
def test_whom_to_ask_has_not_failed(report: str) -> None:
    """Addresses in signatures, disclaimers and offers of help are nobody's failure, above a report or below it."""
    text, names = REPORTS[report]
    for foot in FEET:
        texts = (f"{text}\n\n{foot}\n", *([] if foot.startswith("--") else [f"{foot}\n\n{text}\n"]))
        for whole in texts:
            found = read(f"From: Mail System <{DAEMON}>\nSubject: Undelivered mail\n{UTF8}\n{whole}".encode())
            assert [one.recipient for one in found.reports] == (["user@example.com"] if names else []), whole


def test_an_undisclosed_address_lets_the_one_before_it_speak() -> None:
    """Exim hides where a user forwards to; it names whose mail it was."""
    text = "The following address(es) failed:\n\n  an undisclosed address\n    (generated from user@example.com)\n"
    report = read(f"From: {DAEMON}\nSubject: Mail delivery failed\n{UTF8}\n{text}".encode())
    assert [one.recipient for one in report.reports] == ["user@example.com"]


def test_a_story_of_many_addresses_is_no_list() -> None:
    """Three sentences with an address each are a story; one sentence may name three recipients, and so may three that
    begin alike."""
    story = "Mail to ann@a.example failed.\n\nThen bob@b.example failed too.\n\nAt last eve@c.example failed.\n"
    alike = "".join(f"Mail to {name}@a.example could not be delivered.\n\n" for name in ("ann", "bob", "eve"))
    sentence = "Mail to ann@a.example, bob@b.example, eve@c.example could not be delivered.\n"
    head = f"From: {DAEMON}\nSubject: Undelivered mail\n{UTF8}\n"
    assert [len(read(f"{head}{text}".encode()).reports) for text in (story, sentence, alike)] == [0, 3, 3]
