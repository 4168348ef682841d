"""Reports that name nobody: a failure only beyond doubt, because unknown words may say that delivery goes on."""

from __future__ import annotations

import base64

import pytest

from retour_bounces import read

DAEMON = "Mail Delivery System <MAILER-DAEMON@mx.example.com>"
BACK = """
------ This is a copy of the message, including all the headers. ------

From: us@example.org
Subject: News
Message-ID: <1@example.org>

Hello
"""
GONE = "Your message could not be delivered:\n\n550 5.1.1 User unknown\n"


def message(text: str, subject: str = "Undelivered mail", sender: str = DAEMON, header: str = "") -> bytes:
    """A report with a null sender."""
    head = f"Return-Path: <>\nFrom: {sender}\nTo: b+1@example.org\nSubject: {subject}\n{header}MIME-Version: 1.0\n"
    return f"{head}Content-Type: text/plain; charset=utf-8\n\n{text}".encode()


@pytest.mark.parametrize(
    "text",
    [GONE, "Message not delivered to the following:\n\n  bob   No such user here\n"],
    ids=["a refusal", "a heading"],
)
def test_a_failure_beyond_doubt_is_a_bounce_of_nobody(text: str) -> None:
    """A mail system gives the message back, with a refusal for good or a reason under a heading about failure."""
    (one,) = read(message(text + BACK)).reports
    assert (one.recipient, one.action, one.type, one.reason) == (None, "failed", "hard", "userunknown")


@pytest.mark.parametrize("text", [GONE, "Your message could not be delivered.\n" + BACK])
def test_half_the_signs_are_not_enough(text: str) -> None:
    """Words about failure are no bounce where no message comes back, or no reason stands."""
    assert read(message(text)).kind == "not-a-report"


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("Mail delivery problem", "It stays in the queue; the next attempt is at 14:00."),
        ("Undeliverable mail - will try again", "The other server is down."),
        ("Mail delivery failed (temporary)", "The other server is down."),
        ("Undelivered mail", "Our server tries again every 30 minutes."),
        ("Undelivered mail", "Delivery attempts go on until Friday."),
        ("Undelivered mail", "It could not be delivered for the last 4 hours."),
        ("Undelivered mail", "The user is unknown for now."),
        ("Undelivered mail", "450 4.1.1 said the first server"),
        ("Undelivered mail", "Its status is 4.4.1."),
        ("Undelivered mail", "Le serveur va réessayer."),
        ("Undelivered mail", "Wir probieren es 5 Tage lang."),
        ("Undelivered mail", "Lo intentaremos durante 5 días."),
        ("Undelivered mail", "後ほど再試行します。"),
        ("Undelivered mail", "稍后将重试。"),
        ("Undelivered mail", "Повторим позже."),
        ("Undelivered mail", "The text was delivered, only the attachment was not."),
        ("Undelivered mail", "Ticket 4 is opened."),
    ],
)
def test_a_word_of_waiting_or_arrival_makes_it_doubtful(subject: str, text: str) -> None:
    """Whatever else the report says: a recipient whose mail is only late has not failed."""
    found = read(message(f"{GONE}{text}\n{BACK}", subject))
    assert [one for one in found.reports if one.action == "failed"] == []


@pytest.mark.parametrize(
    ("sender", "subject", "header"),
    [
        ("Mail Administrator <mailadmin@example.com>", "Re: bounced mail", ""),
        ("Postmaster <postmaster@example.com>", "Re: Undelivered mail", ""),
        ("Postmaster <postmaster@example.com>", "Fwd: Undelivered mail", ""),
        ("Postmaster <postmaster@example.com>", "Undelivered mail", "In-Reply-To: <1@example.org>\n"),
        ("Postmaster <postmaster@example.com>", "Undelivered mail", "Auto-Submitted: auto-replied\n"),
        ("Acme Mail Service <news@acme.example>", "Undelivered mail", "List-Unsubscribe: <https://acme.example/u>\n"),
        (DAEMON, "Mail statistics: delivery failures", ""),
        (DAEMON, "Your parcel: delivery failure", ""),
        ("Ann <ann@example.com>", "Undelivered mail", ""),
    ],
)
def test_who_may_be_no_mail_system_fails_nobody(sender: str, subject: str, header: str) -> None:
    """Persons behind a mail system's name, lists, statistics and shops quote reports too."""
    assert read(message(GONE + BACK, subject, sender, header)).kind in ("not-a-report", "autoreply")


def test_a_person_who_writes_as_postmaster_fails_nobody() -> None:
    """Their own address is the sender of what they write."""
    data = message(GONE + BACK, sender="postmaster@example.com")
    assert read(data).kind == "bounce"
    assert read(data.replace(b"<>", b"<postmaster@example.com>", 1)).kind == "not-a-report"


@pytest.mark.parametrize(
    "text",
    [
        "Your message could not be delivered at once:\n\nIt is not lost: delivery goes on for days.\n",
        "Your message could not be delivered:\n\n 550 5.1.1 greylisted\n\nIt will be retried.\n" + BACK,
        "Ihre Nachricht konnte nicht zugestellt werden:\n\nDie Zustellung wird weiterhin versucht.\n" + BACK,
        "Your message could not be delivered:\n\n 550 5.1.1 no\n\n--- Original message kept. We wait for the host.\n",
    ],
)
def test_no_cut_of_a_report_of_delay_is_a_failure(text: str) -> None:
    """What says that it waits may stand behind the cut."""
    data = message(text)
    assert [cut for cut in range(len(data) + 1) if read(data[:cut]).kind == "bounce"] == []


def test_half_a_line_is_no_returned_message() -> None:
    """A long line that begins as a header field looks like one until its end is read."""
    line = f"Received: {'by a host ' * 20}that will be tried again"
    text = base64.encodebytes(f"Your message could not be delivered:\n\n 550 5.1.1 no\n\n{line}\n".encode()).decode()
    data = message(text, header="Content-Transfer-Encoding: base64\n")
    assert [cut for cut in range(len(data) + 1) if read(data[:cut]).kind == "bounce"] == []


@pytest.mark.parametrize("names", ["ann", "  ann.example\n  bob", "\tann\n\n\tbob-x"])
def test_local_names_under_a_heading_about_failure_are_a_bounce_of_nobody(names: str) -> None:
    """Some providers leave the domain off, and the message too; the envelope tells whose it is."""
    heading = "Your mail to the following recipients could not be delivered because they do not take mail from you:"
    (one,) = read(message(f"Sorry.\n\n{heading}\n\n{names}\n")).reports
    assert (one.recipient, one.action) == (None, "failed")


@pytest.mark.parametrize(
    ("text", "sender"),
    [
        ("Your mail could not be delivered to:\n\nann\n\nIt will be tried again.\n", DAEMON),
        ("Your mail could not be delivered yet to:\n\nann\n", DAEMON),
        ("Your mail could not be delivered to:\n\nann and bob\n", DAEMON),
        ("We could not deliver. Contact:\n\nhelpdesk\n", DAEMON),
        ("Your mail could not be delivered to:\n\nann\n", "Ann <ann@example.com>"),
    ],
)
def test_names_in_any_doubt_fail_nobody(text: str, sender: str) -> None:
    """A delay, a sentence, a signature and a person's words are no list of the failed."""
    assert [one for one in read(message(text, sender=sender)).reports if one.action == "failed"] == []
