"""Hook formats: an event in the JSON that an application takes from other services already. Pure.

The shapes are those of listmonk's bounce API, Postmark's bounce, spam complaint and subscription change webhooks, and
SendGrid's event webhook. A field that such a service has and Retour has not (an id of its server) is left out.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

Format = Literal["retour", "listmonk", "postmark", "sendgrid"]
Event = Mapping[str, Any]
"""An event as `hook_events.Event.to_json` writes it."""

_REPORTS = ("bounce.hard", "bounce.soft", "complaint")
TAKES: Mapping[str, tuple[str, ...]] = {
    "listmonk": _REPORTS,
    "postmark": (*_REPORTS, "autoreply", "unsubscribed"),
    "sendgrid": (*_REPORTS, "unsubscribed"),
}
"""Which events each format can say."""

_POSTMARK_TYPES = {
    "bounce.hard": ("HardBounce", 1, "Hard bounce"),
    "bounce.soft": ("SoftBounce", 4096, "Soft bounce"),
    "complaint": ("SpamComplaint", 100_001, "Spam complaint"),
    "autoreply": ("AutoResponder", 64, "Auto responder"),
}
_LISTMONK_TYPES = {"bounce.hard": "hard", "bounce.soft": "soft", "complaint": "complaint"}


def in_format(name: str, body: bytes) -> bytes:
    """`body`, an event's JSON, as format `name` has it. Raises `KeyError` for an event that the format cannot say."""
    return body if name == "retour" else json.dumps(_WRITERS[name](json.loads(body)), ensure_ascii=False).encode()


def _listmonk(event: Event) -> dict[str, Any]:
    """For POST /webhooks/bounce. A tag that is a UUID is taken for that of the campaign."""
    data = event["data"]
    values = {
        "email": data.get("address"),
        "campaign_uuid": _uuid(data.get("tag")),
        "source": "retour",
        "type": _LISTMONK_TYPES[event["type"]],
        "meta": json.dumps(dict(data), ensure_ascii=False),
    }
    return _given(values)


def _postmark(event: Event) -> dict[str, Any]:
    data = event["data"]
    common = {"MessageStream": data.get("stream"), "MessageID": data.get("send"), "Tag": data.get("tag")}
    if event["type"] == "unsubscribed":
        return {"RecordType": "SubscriptionChange"} | _given(
            {
                **common,
                "Recipient": data.get("address"),
                "Origin": "Recipient",
                "SuppressSending": True,
                "SuppressionReason": "ManualSuppression",
                "ChangedAt": event["timestamp"],
            }
        )
    type_, code, name = _POSTMARK_TYPES[event["type"]]
    return {"RecordType": "SpamComplaint" if type_ == "SpamComplaint" else "Bounce"} | _given(
        {
            **common,
            "ID": _number(event["id"]),
            "Type": type_,
            "TypeCode": code,
            "Name": name,
            "Description": data.get("explanation") or data.get("reason"),
            "Details": data.get("diagnostic"),
            "Email": data.get("address"),
            "BouncedAt": event["timestamp"],
            "DumpAvailable": False,
            "Inactive": event["type"] in ("bounce.hard", "complaint"),
            "CanActivate": event["type"] != "complaint",
        }
    )


def _sendgrid(event: Event) -> list[dict[str, Any]]:
    """A batch of one. What may arrive next time is `blocked`, as it is there."""
    data, type_ = event["data"], event["type"]
    values: dict[str, Any] = {
        "email": data.get("address"),
        "timestamp": int(datetime.fromisoformat(event["timestamp"]).timestamp()),
        "event": {"complaint": "spamreport", "unsubscribed": "unsubscribe"}.get(type_, "bounce"),
        "category": [data["stream"]] if data.get("stream") else None,
        "sg_event_id": event["id"],
        "sg_message_id": data.get("send"),
    }
    if type_.startswith("bounce."):
        values |= {
            "type": "bounce" if type_ == "bounce.hard" else "blocked",
            "status": data.get("status"),
            "reason": data.get("diagnostic") or data.get("reason"),
        }
    if data.get("tag"):
        values["tag"] = data["tag"]  # as a unique argument, which stands beside the other fields
    return [_given(values)]


_WRITERS: Mapping[str, Callable[[Event], Any]] = {
    "listmonk": _listmonk,
    "postmark": _postmark,
    "sendgrid": _sendgrid,
}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _uuid(tag: str | None) -> str | None:
    try:
        return str(uuid.UUID(tag)) if tag else None
    except ValueError:
        return None


def _number(event_id: str) -> int:
    """A number of 63 bits that stands for the event's id."""
    return int(event_id.rpartition("_")[2], 16) & (2**63 - 1)
