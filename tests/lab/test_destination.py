"""The destination answers as its script says, and what it sends back is what real servers send."""

from __future__ import annotations

import email
import email.policy

import pytest

from lab.destination import Destination, Keep, Refuse, RefuseData
from lab.postfix import PrivatePostfix
from lab.reports import AutoReply, Failure, Original, delay
from lab.swaks import swaks

ORIGINAL = Original(
    sender="b-x@bounces.example.com",
    recipient="later@example.net",
    headers="Subject: News\nMessage-ID: <1@example.com>",
    subject="News",
    message_id="<1@example.com>",
)


@pytest.mark.parametrize(
    ("local", "code", "words"),
    [
        ("gone", 550, "5.1.1"),
        ("gone+anna", 550, "5.1.1"),
        ("full", 552, "5.2.2"),
        ("blocked", 550, "5.7.1"),
        ("softly", 451, "4.3.0"),
        ("ok", 250, "2.1.5"),
        ("anybody", 250, "2.1.5"),
    ],
)
def test_each_recipient_gets_its_scripted_reply(destination: Destination, local: str, code: int, words: str) -> None:
    """The reply at RCPT follows from the local part; a `+` and what follows it do not matter."""
    result = swaks(server=destination.hop, to=f"{local}@example.net", from_="me@example.com")
    reply = result.reply_to("RCPT")
    assert (reply.code, words in reply.text) == (code, True)


def test_the_script_can_be_changed_and_have_a_default() -> None:
    """A test brings its own replies, at RCPT or after the message, and its own default."""
    script = {"picky": RefuseData("554 5.6.0 Not like that"), "gone": Keep()}
    with Destination(script=script, default=Refuse("550 5.1.0 Nobody else here")) as server:
        mail = {"server": server.hop, "from_": "me@example.com"}
        assert swaks(to="picky@example.net", **mail).reply_to(".").code == 554
        assert swaks(to="gone@example.net", **mail).accepted
        assert swaks(to="ok@example.net", **mail).accepted
        assert swaks(to="other@example.net", **mail).reply_to("RCPT").code == 550
    assert [message.recipients for message in server.arrived] == [("gone@example.net",), ("ok@example.net",)]


def test_waiting_in_vain_tells_what_is_there(destination: Destination) -> None:
    """A wait that runs out names what was waited for and what has arrived instead."""
    swaks(server=destination.hop, to="ok@example.net", from_="me@example.com")
    with pytest.raises(TimeoutError, match=r"2 messages.*ok@example\.net"):
        destination.wait(2, timeout=0.1)


def test_answers_come_back_from_outside_to_the_envelope_sender(
    postfix: PrivatePostfix, destination: Destination
) -> None:
    """later@, away@ and slow@ accept, then write to the envelope sender with a null sender of their own."""
    for local in ("later", "away", "slow"):
        swaks(server=postfix.smtp_server, to=f"{local}@example.net", from_=f"for-{local}@example.com")
    for local in ("later", "away", "slow"):
        answer = destination.wait_to(f"for-{local}@example.com")
        assert answer.sender == ""
        assert "127.0.0.3" in answer.headers("Received")[0]
    assert {entry.code for entry in destination.wait_returned(3)} == {250}


def test_a_refused_answer_is_written_down(postfix: PrivatePostfix, destination: Destination) -> None:
    """The reply that an answer gets is kept: here the 451 of a bounce domain without Retour."""
    swaks(server=postfix.smtp_server, to="later@example.net", from_="b-x@bounces.example.com")
    (returned,) = destination.wait_returned(1)
    assert (returned.to, returned.code) == ("b-x@bounces.example.com", 451)


def test_null_senders_are_never_answered(postfix: PrivatePostfix, destination: Destination) -> None:
    """A message from <> is kept and nothing goes back, else two servers would answer each other without end."""
    swaks(server=postfix.smtp_server, to="away@example.net", from_="<>")
    swaks(server=postfix.smtp_server, to="away@example.net", from_="me@example.com")
    assert [entry.to for entry in destination.wait_returned(1)] == ["me@example.com"]


@pytest.mark.parametrize(("answer", "action"), [(Failure(), "failed"), (delay(), "delayed")])
def test_reports_have_the_three_parts_of_rfc_6522(answer: Failure, action: str) -> None:
    """A report is read by Python's own parser: text, delivery-status with both groups, returned headers."""
    report = email.message_from_bytes(answer.compose(ORIGINAL), policy=email.policy.default)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    _text, status, headers = report.get_payload()
    server, recipient = status.get_payload()
    assert server["Reporting-MTA"] == "dns; mx.example.net"
    assert (recipient["Action"], recipient["Final-Recipient"]) == (action, "rfc822; later@example.net")
    assert "Message-ID: <1@example.com>" in headers.get_content()


def test_auto_replies_say_so_as_rfc_3834_wants() -> None:
    """An auto-reply carries Auto-Submitted and refers to the message that it answers."""
    reply = email.message_from_bytes(AutoReply().compose(ORIGINAL))
    assert reply["Auto-Submitted"] == "auto-replied"
    assert reply["In-Reply-To"] == "<1@example.com>"
    assert reply["To"] == "b-x@bounces.example.com"
