"""What proves that a message with a Retour-Ref is that very send, on its way."""

import pytest

from retour_milter.backend import EarlierSend
from retour_milter.recipients import Recipient
from retour_milter.under_way import MAX_REFERENCES, is_same_message, references
from retour_policy.address import address_key
from retour_policy.clock import DAY
from retour_policy.config.model import Config

NOW, SECRET = 1_800_000_000_000, bytes(32)
CONFIG = Config.model_validate(
    {
        "stream": [
            {"name": "static", "envelope_from": "Bounces@example.com"},
            {"name": "author", "envelope_from": "header-from"},
            {"name": "kept"},
            {"name": "verp", "envelope_from": "b-%@bounces.example.com"},
        ]
    }
)
FROM = [("From", "Ann <ann@example.com>")]


def same(stream, sender, *to, age=1, resend=False, headers=FROM):
    """Whether it is the send of that stream to Anna and Bert, made by app@ so many days ago."""
    keys = frozenset(address_key(SECRET, one) for one in ("anna@example.net", "bert@example.net"))
    send = EarlierSend(stream, "app@example.com", NOW - age * DAY, resend, SECRET, keys)
    recipients = [Recipient.of(f"<{one}>", None) for one in to or ["Anna@example.net"]]
    return is_same_message(send, sender, recipients, headers, CONFIG, NOW)


@pytest.mark.parametrize(
    ("stream", "sender"),
    [("static", "bounces@example.com"), ("author", "ann@example.com"), ("kept", "app@example.com")],
)
def test_the_sender_is_the_one_that_the_stream_gave_it(stream, sender):
    """Static, the author's, or the client's own where that stays; any other is somebody who has the content."""
    assert same(stream, sender)
    assert same(stream, sender, "bert@example.net", '"anna"@example.net')
    assert not same(stream, "list@example.com")


def test_an_author_who_cannot_be_a_sender_left_the_clients_own():
    """As when it was stamped."""
    assert same("author", "app@example.com", headers=[("From", "nobody")])


def test_before_its_stamp_no_message_is_on_its_way():
    """The application that sends a mail again writes as it did the first time."""
    assert not same("static", "app@example.com")
    assert not same("author", "app@example.com")


def test_a_stream_with_tokens_needs_no_reference():
    """On its way such a message has a VERP address; whatever else carries the reference has copied it."""
    assert not same("verp", "app@example.com") and not same("verp", "anna@example.net")


def test_every_recipient_is_on_record():
    """One more than the send had makes it another message."""
    assert not same("static", "bounces@example.com", "anna@example.net", "eve@example.net")


def test_it_is_as_young_as_the_mail_server_keeps_mail():
    """A resend, which waits for its turn, may be as old as its reference."""
    assert same("static", "bounces@example.com", age=5) and not same("static", "bounces@example.com", age=6)
    assert same("static", "bounces@example.com", age=20, resend=True)


def test_a_stream_that_is_no_more_proves_nothing():
    """Nobody knows how it would have been stamped."""
    assert not same("gone", "app@example.com")


def test_a_few_references_are_looked_at():
    """However many a message carries: each costs a question to the store."""
    asked = []
    headers = [("retour-REF", str(n)) for n in range(50)]
    assert list(references(headers, lambda text: asked.append(text) or (7 if text == "1" else None))) == [7]
    assert len(asked) == MAX_REFERENCES
