"""Answered: the Message-IDs that a report's own header names, for senders that have no token."""

from __future__ import annotations

import pytest

from lab.reports import hard_bounce
from retour_bounces import read

A, B = "<1@example.com>", "<2@example.com>"
FIELDS = {
    f"In-Reply-To: {A}": (A,),
    f"in-reply-to: Your message of today\n {A}": (A,),
    f"References: {B}\n {A}": (A, B),
    f"X-Original-Message-ID: {A}\nReferences: {B}": (A, B),
    f"In-Reply-To: {A}\nReferences: {B} {A}": (A, B),
    "References: " + " ".join(f"<{n}@x>" for n in range(2_000)): tuple(f"<{n}@x>" for n in range(1_999, 1_994, -1)),
    "In-Reply-To: nobody's message": (),
    "In-Reply-To: <" + "x" * 5_000 + ">": (),
}


@pytest.mark.parametrize("header", FIELDS)
def test_a_bounce_says_what_it_answers(header: str) -> None:
    """In-Reply-To, References, X-Original-Message-ID: the likeliest first, and a few."""
    report = read(hard_bounce("gone@example.net", header=f"{header}\n").encode())
    assert (report.kind, report.original.message_id, report.original.answered) == ("bounce", None, FIELDS[header])


def test_what_was_returned_is_not_named_again() -> None:
    """The Message-ID of the returned header stays where it was."""
    text = hard_bounce("gone@example.net", header=f"In-Reply-To: {A}\n", returned=f"Message-ID: {A}\nSubject: x\n")
    original = read(text.encode()).original
    assert (original.message_id, original.answered) == (A, ())


def test_an_auto_reply_says_it_too() -> None:
    """A program that quotes words before the Message-ID, or names it in References alone."""
    head = "From: ann@example.net\nAuto-Submitted: auto-replied\nSubject: Away\n"
    for header in (f"In-Reply-To: Message of Monday {A}\n", f"References: {B} {A}\n"):
        report = read(f"{head}{header}\nI am away.\n".encode())
        assert report.kind == "autoreply" and report.original.answered[0] == A
