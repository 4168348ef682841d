"""Rows: what a report repeats of the message, or names it by, is neither a recipient nor a reason."""

from __future__ import annotations

import pytest

from retour_bounces import read

HEAD = "From: Mail Delivery System <MAILER-DAEMON@mx.example.net>\nTo: us@example.org\nSubject: Undelivered mail\n"
SAID = "\nYour message could not be delivered:\n\n"


def failed(text: str) -> list[str | None]:
    """The failed recipients of a report in words."""
    return [one.recipient for one in read((HEAD + SAID + text).encode()).reports if one.action == "failed"]


@pytest.mark.parametrize(
    "row",
    [
        "Message Token: AbC@xyz", "Queue ID: 4abc@mx", "Bounce-Id: 17@host.example.net", "Tracking reference: a@b",
        "Session: x@mx1.example.net", "Ticket: 17@desk.example.net", "Message key: k@h",
    ],
)  # fmt: skip
def test_what_identifies_a_message_is_no_recipient(row: str) -> None:
    """Tokens and queue names look like addresses; a user's ID may be one."""
    assert failed(f"{row}\nPlease include it.\n") == []
    assert failed(f"{row}\nRcpt To: ann@example.com\n") == ["ann@example.com"]
    assert failed("User ID: ann@example.com\n") == ["ann@example.com"]


ROWS = {
    "English": "Sender Address:    us@example.org\nRecipient Address:    ann@example.com\nSubject:    {}",
    "German": "Absender: <us@example.org>\nEmpfänger: <ann@example.com>\nBetreff: {}",
    "Spanish": "Remitente: us@example.org\nDestinatario: ann@example.com\nAsunto: {}",
}


@pytest.mark.parametrize("language", ROWS)
@pytest.mark.parametrize("subject", ["News", "User unknown", "Quota exceeded", "Sender rejected"])
@pytest.mark.parametrize(
    "row", ["Reported error: 550 5.1.10 no such user", "Status code: 550 5.1.10\nDone by: mx1.example.net"]
)
def test_rows_that_repeat_the_message_give_no_reason(language: str, subject: str, row: str) -> None:
    """Who wrote it, to whom and about what explains nothing; the row with the server's reply does, in any language."""
    rows = f"Your message details\n\n{ROWS[language].format(subject)}\n\n{row}\n"
    (one,) = read((HEAD + SAID + rows).encode()).reports
    assert (one.recipient, one.status, one.blame) == ("ann@example.com", "5.1.10", "recipient")


def test_a_reply_about_the_sender_is_no_row() -> None:
    """It is the reason."""
    (one,) = read(
        (HEAD + SAID + "ann@example.com\n\n550 5.1.8 Sender address rejected: us@example.org\n").encode()
    ).reports
    assert (one.recipient, one.blame) == ("ann@example.com", "sender")


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("The mailbox {} is over quota.", "mailboxfull"),
        ("Sorry, user {} does not exist.", "userunknown"),
    ],
)
def test_an_address_in_the_subject_of_a_sentence_keeps_it(sentence: str, reason: str) -> None:
    """Without the word before the address the predicate says too little."""
    (one,) = read((HEAD + SAID + sentence.format("ann@example.com") + "\n").encode()).reports
    assert (one.recipient, one.blame) == ("ann@example.com", "recipient")
    assert one.reason == reason
    assert one.diagnostic.startswith(sentence.split("{")[0])
