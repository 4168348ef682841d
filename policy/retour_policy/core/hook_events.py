"""Hook events: the events that applications are told of, how they are written, and which hook gets which. Pure."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from retour_policy.clock import iso_text
from retour_policy.core.suppression import Suppression

VERSION = 2
"""Of the JSON: raised when a field changes its meaning or is removed; new fields may come without that."""
EVENTS = {
    "bounce.hard": "a message bounced, and sending it again will not help",
    "bounce.soft": "a message bounced, and the next one may arrive",
    "complaint": "the recipient called a message spam",
    "autoreply": "a program answered in the recipient's place",
    "paused": "an address is suppressed for some days",
    "suppressed": "an address is suppressed",
    "lifted": "a suppression was lifted before its time was over",
    "unsubscribed": "the recipient does not want the stream any more",
    "storm.opened": "one receiving side bounces so much that its bounces are held",
    "storm.closed": "the storm is over",
    "burst.sender": "one receiving side refuses much of a stream, and blames the sender; nobody is counted",
    "burst.unsubscribed": "many at one receiving side unsubscribe within minutes of the send, as a gateway would",
    "resent": "a message that had bounced softly was sent again",
    "unmatched": "returned mail could not be matched to anything that was sent; postmaster gets it",
}
GROUPS = {
    "all": tuple(EVENTS),
    "bounce": ("bounce.hard", "bounce.soft"),
    "storm": ("storm.opened", "storm.closed"),
}


class Unencodable(ValueError):
    """The event contains something that JSON cannot."""


class Wanting(Protocol):
    """What this module needs of a hook's configuration."""

    @property
    def on(self) -> tuple[str, ...]:
        """Events and groups."""

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams; empty: all."""


@dataclass(frozen=True, slots=True)
class Data:
    """The `data` of an event. Fields that are None are omitted."""

    address: str | None = None
    stream: str | None = None
    tag: str | None = None
    send: str | None = None
    message_id: str | None = None
    scope: str | None = None
    cause: str | None = None
    note: str | None = None
    since: str | None = None
    until: str | None = None
    explanation: str | None = None
    status: str | None = None
    reason: str | None = None
    blame: str | None = None
    proof: str | None = None
    names: str | None = None
    diagnostic: str | None = None
    kind: str | None = None
    way: str | None = None
    delivered_to: str | None = None
    sender: str | None = None
    resend: int | None = None
    max_attempts: int | None = None
    storm: int | None = None
    side: str | None = None
    sent: int | None = None
    failed: int | None = None
    unsubscribed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields that have a value, by name."""
        return {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) is not None}


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as applications are told of it."""

    type: str
    at: int
    data: Data
    ordering: int | None = None
    """Events with the same number are delivered one after the other: the number of the address."""
    id: str = field(default_factory=lambda: f"evt_{secrets.token_hex(16)}")

    def to_json(self) -> bytes:
        """The same for webhooks and commands. Raises `Unencodable`."""
        whole = {
            "version": VERSION,
            "id": self.id,
            "type": self.type,
            "timestamp": iso_text(self.at),
            "data": self.data.to_dict(),
        }
        try:
            return json.dumps(whole, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise Unencodable(f"{type(error).__name__}: {error}") from error


def wants(hook: Wanting, event: Event) -> bool:
    """Whether a hook gets the event. One for some streams also gets what holds in all streams."""
    asked = event.type in hook.on or any(event.type in GROUPS.get(one, ()) for one in hook.on)
    everywhere = (event.data.scope or "").startswith("*")
    return asked and (not hook.streams or everywhere or bool({event.data.stream, event.data.scope} & {*hook.streams}))


@dataclass(frozen=True, slots=True)
class Change:
    """A suppression that came into force, or (`lifted`) was taken back."""

    type: str
    one: Suppression


def changes(before: Mapping[str, Suppression], after: Mapping[str, Suppression], now: int) -> Iterable[Change]:
    """What a fact did to the suppressions of its address. There is no event when one runs out."""
    for scope in sorted({*before, *after}):
        old, new = before.get(scope), after.get(scope)
        held = old is not None and old.in_force(now)
        holds = new is not None and new.in_force(now)
        if old is not None and held and not holds:
            yield Change("lifted", old)
        elif new is not None and holds and not (held and old and (old.cause, old.until) == (new.cause, new.until)):
            yield Change("paused" if new.cause == "pause" else "suppressed", new)
