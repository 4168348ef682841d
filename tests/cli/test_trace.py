"""`retour trace`: a message is found by what a postmaster has in hand, and shown there and back."""

from __future__ import annotations

from typing import Any

import pytest

from lab.reports import failed
from retour_bounces import Report
from retour_policy.messages.returned import ReturnRecorder
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store import sends
from retour_policy.store.sends import NewSend
from retour_policy.tokens import token

ANNA, BERT = "anna@example.net", "bert@example.net"
HOOK = """
[[hook]]
name = "crm"
on = ["bounce.hard"]
command = ["/bin/true"]
"""


@pytest.fixture
def sent(office: Any) -> Any:
    """Two messages: one failed at Anna, one to her and Bert was withheld from Bert."""
    office.config.write_text(office.config.read_text() + HOOK)
    context = office.context
    ring, now = context.ring, context.clock()
    recorder = ReturnRecorder.of(context.config, ring, context.ledger, context.clock)

    def work(connection: Any) -> None:
        first = NewSend("news", "news@example.com", (ANNA,), message_id="<one@example.com>", queue_id="4bXyzZ1kQz")
        number = sends.record(connection, ring.address_secret, first, lambda: token.draw_id(now))
        report = Report("bounce", (failed(ANNA, diagnostic="550 5.1.1 no such user"),))
        route = Route("verp", "news", number)
        recorder.record(connection, ReturnedMessage(now, route, "b@b", "", b"", b"f" * 16, report))
        second = NewSend("news", "news@example.com", (ANNA,), withheld=(BERT,), queue_id="4bXyzZ2222")
        sends.record(connection, ring.address_secret, second, lambda: token.draw_id(now + 1))

    office.write(work)
    return office


@pytest.mark.parametrize("clue", ["4bXyzZ1kQz", "<one@example.com>", "one@example.com"])
def test_a_message_is_found_by_queue_id_and_message_id(sent: Any, clue: str) -> None:
    """Who got it, what came back, what was decided, and what a hook has yet to hear."""
    (found,) = sent.json("trace", clue)
    assert (found["queue_id"], found["message_id"]) == ("4bXyzZ1kQz", "<one@example.com>")
    assert found["recipients"] == [{"address": ANNA, "apart": None}]
    (event,) = found["events"]
    assert (event["kind"], event["type"], event["status"]) == ("bounce", "hard", "5.1.1")
    assert event["led_to"]
    assert [(one["channel"], one["what"], one["state"]) for one in found["pending"]] == [
        ("hook:crm", "bounce.hard", "waiting")
    ]


def test_an_address_shows_its_messages_the_latest_first(sent: Any) -> None:
    """Also one that it was withheld from."""
    assert [one["queue_id"] for one in sent.json("trace", ANNA)] == ["4bXyzZ2222", "4bXyzZ1kQz"]
    assert [one["queue_id"] for one in sent.json("trace", ANNA, "--limit", "1")] == ["4bXyzZ2222"]
    assert [one["queue_id"] for one in sent.json("trace", BERT)] == ["4bXyzZ2222"]
    text = sent("trace", BERT).stdout
    assert "bert@example.net (withheld: suppressed)" in text and "nothing came back" in text


def test_it_reads_well_on_a_terminal(sent: Any) -> None:
    """At 80 columns; the reply's own words, the decision and the hook stand under the report."""
    text = sent("trace", "4bXyzZ1kQz", columns=80).stdout
    sent.fits(text)
    parts = ["4bXyzZ1kQz", "anna@example.net", "bounce hard 5.1.1", "550 5.1.1 no such user", "-> ", "hook:crm (bounce"]
    assert [part for part in parts if part not in text] == []


def test_what_is_not_known_says_so(sent: Any) -> None:
    """With exit status 1, and without passing on what a terminal acts on."""
    result = sent("trace", "4b\x1b[2J", status=1)
    assert "nothing was sent under that name" in result.stderr and "\x1b" not in result.stderr


def test_it_tells_what_stands_for_an_address_in_the_log(sent: Any) -> None:
    """With `log_addresses = false`, so that the log can be searched for somebody."""
    sent.edit("log_addresses = true", "log_addresses = false")
    name = sent.context.ring.log_name(ANNA)
    assert f"{ANNA} is {name} in the log." in sent("trace", ANNA).stdout
