"""Text about several recipients: what is said of one is not taken for another's."""

from __future__ import annotations

import pytest

from retour_bounces import read
from retour_bounces.message.split_original import split_original
from retour_bounces.prose.scan import MAX_CANDIDATES, scan_text

HEAD = "From: Mail Delivery System <MAILER-DAEMON@mx.example.net>\nTo: us@example.org\nSubject: Undelivered mail\n"
SAID = "\nYour message could not be delivered:\n\n"


def failed(text: str) -> dict[str | None, tuple[str | None, str | None]]:
    """Reason and status of each failed recipient of a report in words."""
    found = read((HEAD + SAID + text).encode())
    return {one.recipient: (one.reason, one.status) for one in found.reports if one.action == "failed"}


@pytest.mark.parametrize("other", ["joann@example.com", "ann@example.com.example.net", "x-ann@example.com"])
def test_an_address_inside_another_is_not_that_one(other: str) -> None:
    """Both are recipients, each with its own reason."""
    found = failed(f"ann@example.com: mailbox full\n{other}: 550 5.1.1 User unknown\n")
    assert {name: reason for name, (reason, _) in found.items()} == {
        "ann@example.com": "mailboxfull",
        other: "userunknown",
    }


def test_a_status_is_that_of_the_whole_address_behind_which_it_stands() -> None:
    """ob is no part of bob."""
    found = failed("ob@example.com: 552 mailbox full\nbob@example.com: 550 5.1.1 user unknown\n")
    assert found["bob@example.com"] == ("userunknown", "5.1.1")
    assert found["ob@example.com"] == ("mailboxfull", "5.2.2")


def test_a_refusal_in_a_dialogue_is_that_of_the_recipient_it_answered() -> None:
    """Of another one, whose fields say nothing, it explains nothing."""
    group = "Final-Recipient: rfc822; {}@example.com\nAction: failed\nStatus: {}\n\n"
    fields = "Reporting-MTA: dns; mx.example.net\n\n" + group.format("bob", "5.1.1") + group.format("carol", "5.0.0")
    said = "See below.\n\n>>> RCPT To:<Bob@example.com>\n<<< 550 5.1.1 User unknown\n"
    kind = 'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
    part = "--b\nContent-Type: {}\n\n{}\n"
    body = part.format("text/plain", said) + part.format("message/delivery-status", fields) + "--b--\n"
    bob, carol = read((HEAD + kind + body).encode()).reports
    assert (bob.reason, carol.reason, carol.status) == ("userunknown", None, "5.0.0")


@pytest.mark.parametrize(
    ("dialogue", "whose"),
    [
        (">>> RCPT To:<a@example.com>\n<<< 550-no\n<<< 550 no\n", ["a@example.com"]),
        (">>> RCPT To:<a@example.com>\n<<< 250 ok\n>>> DATA\n<<< 554 no\n", [""]),
        (
            ">>> RCPT To:<a@example.com>\n<<< 550 no\n>>> RCPT To:<b@example.com>\n<<< 551 no\n",
            ["a@example.com", "b@example.com"],
        ),
        (">>> RCPT To:<a@example.com>\n>>> RCPT To:<b@example.com>\n<<< 250 ok\n<<< 550 no\n", [""]),
    ],
    ids=["one", "after the recipients", "in turn", "pipelined"],
)
def test_a_reply_belongs_to_the_recipient_that_was_asked_for(dialogue: str, whose: list[str]) -> None:
    """Where several are asked for at once, nobody can tell which one a quoted reply is about."""
    assert [one.recipient for one in scan_text(split_original(dialogue), set()).replies] == whose


def test_names_without_a_domain_are_bounded_as_addresses_are() -> None:
    """What comes after that many is not read, and the report says so."""
    text = "".join(f"550 5.1.1 u{number}... User unknown\n" for number in range(MAX_CANDIDATES + 100))
    prose = scan_text(split_original(text), set())
    assert (len(prose.candidates), prose.cut) == (MAX_CANDIDATES, True)
    assert not scan_text(split_original(text[:1_000]), set()).cut


def test_who_wrote_to_a_list_may_be_one_of_those_who_failed() -> None:
    """A list brings its members their own posts: only with a reply of their own the writer is a recipient."""
    report = (
        b"From: MAILER-DAEMON@mx.example.com\nTo: list-bounces@example.org\nSubject: failure notice\n\n"
        b"I wasn't able to deliver your message to the following addresses.\n\n<ann@example.com>:\n%s\n"
        b"<bert@example.com>:\nuser is over quota (#5.2.2)\n\n--- Below this line is a copy of the message.\n\n"
        b"From: Ann <ann@example.com>\nTo: list@example.org\nSubject: hi\n\nx\n"
    )
    own, none = b"Sorry, no mailbox here by that name. (#5.1.1)\n", b""
    assert [one.recipient for one in read(report % own).reports] == ["ann@example.com", "bert@example.com"]
    assert [one.recipient for one in read(report % none).reports] == ["bert@example.com"]


@pytest.mark.parametrize(
    "wrapped",
    [
        "550 5.1.1\n    <us@lists.example.org>: unauthorized sender (in\n    reply to RCPT TO command)",
        "550 5.1.1 Sender\n    <us@lists.example.org>: is not allowed to write here",
        "550 5.1.1 Sender\n    <us@lists.example.org>\n    is not allowed to write here",
        "\n    550 5.1.1 <us@lists.example.org>: unauthorized sender",
    ],
)
def test_an_address_at_the_beginning_of_a_wrapped_line_is_no_further_recipient(wrapped: str) -> None:
    """What an indented line goes on to say belongs to the recipient above: here that the sender is refused."""
    found = failed(f"<bob@example.com>: host mx.example.com[192.0.2.1] said: {wrapped}\n")
    assert found == {"bob@example.com": ("rejected", "5.1.1")}


def test_recipients_below_one_another_are_each_a_recipient() -> None:
    """A line that is not indented further, or stands behind an empty one, begins anew."""
    found = failed(
        "  a@example.com: mailbox full\n  b@example.com: 550 5.1.1 User unknown\n\n    c@example.com: mailbox full\n"
    )
    assert {name: reason for name, (reason, _) in found.items()} == {
        "a@example.com": "mailboxfull",
        "b@example.com": "userunknown",
        "c@example.com": "mailboxfull",
    }
