"""Passed on: reports that people and their programs hand on are theirs, not reports; what a gateway adds to a report
changes nothing."""

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
    """A person begins with words of his own, a report with what became of the message."""
    for subject, text in TEXTS:
        assert read(WAYS[way](subject, text).encode()).reports == (), text


def test_a_greeting_before_a_report_is_no_person() -> None:
    """A server without a telling name may greet its reader before it says what failed."""
    text = "Dear user,\n\nYour message could not be delivered:\n\nuser@example.com: no such user\n"
    report = read(f"{ANN}Subject: Undeliverable mail\n{UTF8}\n{text}".encode())
    assert [one.recipient for one in report.reports] == ["user@example.com"]
