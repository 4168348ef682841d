"""Events in the JSON of other services: each as their documentation has it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from retour_policy.core.hook_events import Data, Event
from retour_policy.core.hook_formats import TAKES, in_format

AT = 1_767_268_800_000  # 2026-01-01T12:00:00Z
ID = "evt_" + "0" * 31 + "f"
GONE = Data(
    address="anna@example.org",
    stream="news",
    tag="order-7",
    send="42",
    status="5.1.1",
    reason="userunknown",
    diagnostic="550 5.1.1 no such user",
    explanation="hard 1 of 1",
)


def made(format_: str, type_: str, data: Data = GONE) -> Any:
    return json.loads(in_format(format_, Event(type_, AT, data, id=ID).to_json()))


def test_retours_own_format_is_left_as_it_is() -> None:
    """Byte for byte, for it is signed."""
    body = Event("paused", AT, GONE, id=ID).to_json()
    assert in_format("retour", body) is body


def test_listmonk_hears_bounces_and_complaints() -> None:
    """Its API needs the address, a source and one of three types; a tag that is no UUID is no campaign."""
    found = made("listmonk", "bounce.soft")
    assert json.loads(found.pop("meta"))["diagnostic"] == "550 5.1.1 no such user"
    assert found == {"email": "anna@example.org", "source": "retour", "type": "soft"}
    assert made("listmonk", "complaint")["type"] == "complaint"


def test_postmark_shape_of_a_bounce() -> None:
    """Type and TypeCode belong together, as in Postmark's list of bounce types."""
    assert made("postmark", "bounce.hard") == {
        "RecordType": "Bounce",
        "MessageStream": "news",
        "MessageID": "42",
        "Tag": "order-7",
        "ID": 15,
        "Type": "HardBounce",
        "TypeCode": 1,
        "Name": "Hard bounce",
        "Description": "hard 1 of 1",
        "Details": "550 5.1.1 no such user",
        "Email": "anna@example.org",
        "BouncedAt": "2026-01-01T12:00:00.000Z",
        "DumpAvailable": False,
        "Inactive": True,
        "CanActivate": True,
    }
    assert [made("postmark", one)["TypeCode"] for one in ("bounce.soft", "autoreply")] == [4096, 64]


def test_postmark_shapes_of_complaint_and_unsubscription() -> None:
    """They are records of their own there."""
    complaint = made("postmark", "complaint")
    assert (complaint["RecordType"], complaint["TypeCode"], complaint["CanActivate"]) == (
        "SpamComplaint",
        100001,
        False,
    )
    change = made("postmark", "unsubscribed")
    assert (change["RecordType"], change["Recipient"]) == ("SubscriptionChange", "anna@example.org")
    assert (change["SuppressSending"], change["Origin"]) == (True, "Recipient")


def test_sendgrid_shape_of_a_bounce() -> None:
    """A batch of one; what may arrive next time is "blocked" there; the time is in whole seconds."""
    assert made("sendgrid", "bounce.hard") == [
        {
            "email": "anna@example.org",
            "timestamp": AT // 1000,
            "event": "bounce",
            "category": ["news"],
            "sg_event_id": ID,
            "sg_message_id": "42",
            "type": "bounce",
            "status": "5.1.1",
            "reason": "550 5.1.1 no such user",
            "tag": "order-7",
        }
    ]
    assert made("sendgrid", "bounce.soft")[0]["type"] == "blocked"
    assert [made("sendgrid", one)[0]["event"] for one in ("complaint", "unsubscribed")] == ["spamreport", "unsubscribe"]


@pytest.mark.parametrize(("format_", "type_"), [(name, one) for name, takes in TAKES.items() for one in takes])
def test_each_event_that_a_format_takes_can_be_said_with_hardly_anything_known(format_: str, type_: str) -> None:
    """An erased address has no text, and no stream needs to be known."""
    assert made(format_, type_, Data())
