"""Announcer: queues each event for every hook that gets it, in the transaction that writes the fact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from retour_policy.clock import iso_text
from retour_policy.config.courier import HookSection
from retour_policy.config.model import Config
from retour_policy.core.hook_events import Change, Data, Event, Unencodable, changes, wants
from retour_policy.core.proof import claim_of
from retour_policy.core.suppression import Suppression
from retour_policy.outbox import queue
from retour_policy.store import addresses
from retour_policy.store.facts import NewFact
from retour_policy.store.outbox import NewItem

_EVENT_OF = {"complaint": "complaint", "autoreply": "autoreply", "unsubscribe": "unsubscribed"}


@dataclass(frozen=True)
class Announcer:
    """Bound to the hooks of a configuration."""

    hooks: tuple[HookSection, ...] = ()

    @classmethod
    def of(cls, config: Config) -> Announcer:
        """As a configuration has them."""
        return cls(config.hook)

    def tell(self, connection: Connection, event: Event, fact_id: int | None = None) -> None:
        """Queue the event for the hooks that get it. An event that cannot be encoded becomes a dead letter."""
        wanting = [hook for hook in self.hooks if wants(hook, event)]
        if not wanting:
            return
        try:
            body, error = event.to_json(), ""
        except Unencodable as fault:
            body, error = b"", f"cannot be encoded: {fault}"
        for hook in wanting:
            new = NewItem(
                event.at,
                "event",
                hook.channel,
                event.type,
                body,
                uid=event.id,
                ordering=event.ordering,
                fact_id=fact_id,
                error=error,
            )
            queue.put(connection, new)

    def fact(
        self,
        connection: Connection,
        number: int,
        new: NewFact,
        suppressions: tuple[Mapping[str, Suppression], Mapping[str, Suppression]],
        explanation: str,
        *,
        counts: bool,
    ) -> None:
        """Queue events for a fact about an address, and for what it did to the suppressions (before, after).

        `counts` is false where the fact itself is no news: told before, or not believed. What was imported
        is history, and told to nobody.
        """
        imported = new.detail.get("dated") or new.reason == "import"
        if not self.hooks or new.address_id is None or imported:
            return
        type_ = event_type(new) if counts else None
        changed = [] if new.kind == "trial" else list(changes(*suppressions, new.at))
        if type_ is None and not changed:
            return
        text = addresses.find_text(connection, new.address_id)
        if type_:
            self.tell(connection, Event(type_, new.at, report_data(text, new, explanation), new.address_id), number)
        for one in changed:
            data = change_data(text, new, one, explanation)
            self.tell(connection, Event(one.type, new.at, data, new.address_id), number)


def event_type(new: NewFact) -> str | None:
    """The event that a fact is, if it is one."""
    if new.kind == "bounce":
        return f"bounce.{new.type}" if new.action == "failed" and new.type else None
    return _EVENT_OF.get(claim_of(new.kind, new.reason) or "")


def report_data(address: str | None, new: NewFact, explanation: str) -> Data:
    """The data of an event about a report."""
    detail = new.detail
    return Data(
        address=address,
        stream=new.stream,
        tag=detail.get("tag"),
        send=_number(new.send_id),
        status=new.status,
        reason=new.reason,
        blame=new.blame,
        proof=new.proof,
        names=detail.get("conflict"),
        diagnostic=detail.get("diagnostic"),
        explanation=explanation or None,
        storm=detail.get("storm"),
        way=detail.get("way"),
        **resend_data(detail),
    )


def resend_data(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Which resend a fact is about."""
    if not detail.get("resend"):
        return {}
    return {"resend": detail["resend"], "max_attempts": detail.get("of")}


def change_data(address: str | None, new: NewFact, change: Change, explanation: str) -> Data:
    """The data of an event about a suppression: its dates, and the fact that triggered it."""
    one = change.one
    return Data(
        address=address,
        stream=new.stream,
        tag=new.detail.get("tag"),
        send=_number(new.send_id),
        scope=one.scope,
        cause=one.cause,
        note=one.note or None,
        since=iso_text(one.since),
        until=iso_text(one.until) if one.until else None,
        explanation=explanation or None,
        kind=new.kind,
        way=new.detail.get("way"),
    )


def _number(send: int | None) -> str | None:
    """As text, because ids exceed the numbers that some JSON readers can represent."""
    return str(send) if send else None
