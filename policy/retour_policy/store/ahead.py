"""Ahead: how many rows a clock that was ahead has dated in the future."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from retour_policy.clock import MAX_AHEAD_MS
from retour_policy.store import schema, storms
from retour_policy.tokens.token import first_id


@dataclass(frozen=True, slots=True)
class AheadFigures:
    """How many there are of each."""

    facts: int
    sends: int
    storms: int
    items: int


def count(connection: Connection, now: int) -> AheadFigures:
    """What is dated later than the clocks of hosts may differ from `now` (milliseconds)."""
    end = now + MAX_AHEAD_MS
    fact, send, outbox = (table.c for table in (schema.fact, schema.send, schema.outbox))
    ahead = (
        fact.at > end,
        send.id >= first_id(end),
        storms.is_ahead(now),
        outbox.at > end,
    )
    return AheadFigures(*(connection.scalar(select(func.count()).where(one)) or 0 for one in ahead))
