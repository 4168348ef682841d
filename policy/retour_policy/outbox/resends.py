"""Resends: which soft bounces lead to another try, queued with the bounce; and what a resend is in the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from retour_policy.config.model import Config, Stream
from retour_policy.outbox import queue as outbox
from retour_policy.outbox.queue import NewItem
from retour_policy.store import schema
from retour_policy.store.facts import NewFact
from retour_policy.store.sends import Send
from retour_policy.store.upsert import ignoring

BELIEVED = ("signed", "corroborated")


def _none() -> int:
    raise RuntimeError("no ids to draw")


@dataclass(frozen=True)
class Resends:
    """Bound to the streams that have `retry`."""

    streams: Mapping[str, Stream] = field(default_factory=dict)
    draw: Callable[[], int] = _none

    @classmethod
    def of(cls, config: Config, draw: Callable[[], int]) -> Resends:
        """As a configuration has them; `draw` gives new send ids."""
        return cls({stream.name: stream for stream in config.stream if stream.retry}, draw)

    def total(self, stream: str) -> int | None:
        """How many resends a message of the stream can have."""
        found = self.streams.get(stream)
        return found.retry.count if found and found.retry else None

    def consider(self, connection: Connection, send: Send, bounce: NewFact) -> bool:
        """Queue the next resend where this bounce asks for one; whether it did.

        The resend is a send of its own with a token of its own, which remembers the first. It has no recipients
        in the store: so it is nobody's good send.
        """
        stream = self.streams.get(send.stream)
        soft = (bounce.kind, bounce.action, bounce.type) == ("bounce", "failed", "soft")
        if stream is None or stream.retry is None or not soft or bounce.proof not in BELIEVED:
            return False
        attempt = send.attempt + 1
        if not send.spool or len(send.recipients) != 1 or attempt > stream.retry.count:
            return False
        number = self._reserve(connection, send, attempt)
        if number is None:
            return False
        body = {"send": str(number), "attempt": attempt, "of": stream.retry.count}
        new = NewItem(
            bounce.at,
            "resend",
            f"relay:{stream.relay}",
            stream.name,
            json.dumps(body).encode(),
            due=bounce.at + stream.retry.interval,
        )
        outbox.put(connection, new)
        return True

    def _reserve(self, connection: Connection, send: Send, attempt: int) -> int | None:
        """A send id for this attempt; None where another report of the same failure has it."""
        number = self.draw()
        row = {
            "id": number,
            "stream": send.stream,
            "sender": send.sender,
            "message_id": send.message_id,
            "tag": send.tag,
            "recipients": 1,
            "resend_of": send.first,
            "attempt": attempt,
            "spool": send.spool,
        }
        written = connection.execute(ignoring(connection, schema.send), row)
        return number if written.rowcount == 1 else None


def fails_anew(connection: Connection, send: Send, new: NewFact) -> bool:
    """Whether this is the first failure of a resend: hooks hear of each attempt, though the mail counts once."""
    if not send.attempt or new.action != "failed":
        return False
    fact = schema.fact.c
    same = select(fact.detail).where(
        fact.send_id == send.first, fact.address_id == new.address_id, fact.kind == new.kind, fact.action == "failed"
    )
    return all(detail.get("resend") != send.attempt for detail in connection.scalars(same))
