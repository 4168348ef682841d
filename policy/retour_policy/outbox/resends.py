"""Resends: which soft bounces lead to a resend, queued with the bounce."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from retour_policy.config.model import Config, Stream
from retour_policy.outbox import queue
from retour_policy.store import facts, sends
from retour_policy.store.facts import NewFact
from retour_policy.store.outbox import NewItem
from retour_policy.store.sends import Send

TRUSTED_PROOFS = ("signed", "corroborated")


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
        """Queue the next resend if this bounce leads to one; whether it does.

        The resend is a send of its own with a token of its own, and refers to the first send.
        """
        stream = self.streams.get(send.stream)
        soft = (bounce.kind, bounce.action, bounce.type) == ("bounce", "failed", "soft")
        if stream is None or stream.retry is None or not soft or bounce.proof not in TRUSTED_PROOFS:
            return False
        attempt = send.attempt + 1
        if not send.spool or len(send.recipients) != 1 or attempt > stream.retry.count:
            return False
        number = self.draw()
        if not sends.record_resend(connection, send, number):
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
        queue.put(connection, new)
        return True


def is_new_failure(connection: Connection, send: Send, new: NewFact) -> bool:
    """Whether this is the first failure of a resend: hooks are told of each attempt, though the message counts once."""
    if not send.attempt or new.action != "failed":
        return False
    return send.attempt not in facts.failed_attempts(connection, send.first, new.address_id, new.kind)
