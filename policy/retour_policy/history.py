"""History: the facts and sends of one address, as the fold sees them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from retour_policy import schema
from retour_policy.facts import NewFact
from retour_policy.fold import Entry, Sendings
from retour_policy.token import id_time

_fact = schema.fact


@dataclass(frozen=True, slots=True)
class Told:
    """All that is known of one address, in the order (recorded at, id)."""

    entries: list[Entry]
    policy_ids: dict[int, int]
    """By fact: the policy that it was judged by."""
    sendings: Sendings


def entry(number: int, new: NewFact, *, first: bool) -> Entry:
    """A fact that was just written, as the fold sees it."""
    noted = {"status": new.status, "reason": new.reason} | new.detail
    sent_at = id_time(new.send_id) if new.send_id else new.at
    return Entry(
        number,
        new.at,
        new.kind,
        new.stream or "",
        new.send_id or 0,
        sent_at,
        new.type,
        new.blame,
        new.proof or "",
        first,
        noted,
    )


def told(connection: Connection, address_id: int) -> Told:
    """The history of one address."""
    rows = connection.execute(
        select(_fact)
        .where(_fact.c.address_id == address_id, _fact.c.policy_id.is_not(None))
        .order_by(_fact.c.at, _fact.c.id)
    ).all()
    entries = list(_entries(rows))
    policy_ids = {row.id: row.policy_id for row in rows}
    return Told(entries, policy_ids, _sendings(connection, address_id, rows))


def _entries(rows: Iterable[Any]) -> Iterable[Entry]:
    counted: set[tuple[int, str]] = set()
    for row in rows:
        new = NewFact(**{name: getattr(row, name) for name in NewFact.__slots__})
        mark = (new.send_id or -row.id, new.kind)
        yield entry(row.id, new, first=mark not in counted)
        if new.kind != "bounce" or new.action == "failed":
            counted.add(mark)


def _sendings(connection: Connection, address_id: int, rows: Iterable[Any]) -> Sendings:
    sent = schema.send_recipient.c
    made = connection.scalars(select(sent.send_id).where(sent.address_id == address_id).order_by(sent.send_id))
    failed: dict[int, int] = {}
    for row in rows:
        if row.action == "failed" and row.send_id:
            failed.setdefault(row.send_id, row.at)
    return Sendings([(number, id_time(number)) for number in made], failed)
