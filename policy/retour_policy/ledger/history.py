"""History: the facts and sends of one address, as the fold sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from retour_policy.core.fold import Entry, SendTimes
from retour_policy.store import schema
from retour_policy.store.facts import NewFact
from retour_policy.tokens.token import id_time

_fact, _sent = schema.fact, schema.send_recipient
_FACTS = (
    select(_fact)
    .where(_fact.c.address_id.in_(bindparam("numbers", expanding=True)), _fact.c.policy_id.is_not(None))
    .order_by(_fact.c.at, _fact.c.id)
)
_SENDS = (
    select(_sent.c.address_id, _sent.c.send_id)
    .where(_sent.c.address_id.in_(bindparam("numbers", expanding=True)))
    .order_by(_sent.c.address_id, _sent.c.send_id)
)


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of one address, in the order (recorded at, id)."""

    entries: list[Entry]
    policy_ids: dict[int, int]
    """By fact: the policy that it was judged by."""
    sendings: SendTimes


def entry(number: int, new: NewFact | Row[Any], *, first: bool = True) -> Entry:
    """A fact that was just written, or its row, as the fold sees it."""
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


def told(
    connection: Connection, numbers: Sequence[int], sends: Mapping[int, Sequence[tuple[int, int]]] | None = None
) -> dict[int, History]:
    """The histories of some addresses, by their numbers; for all of them in two statements.

    Where their `sends` are known, ids and times in order, these are not read again.
    """
    rows: dict[int, list[Any]] = {number: [] for number in numbers}
    for row in connection.execute(_FACTS, {"numbers": list(numbers)}):
        rows[row.address_id].append(row)
    made = _made(connection, [number for number, of in rows.items() if of]) if sends is None else sends
    return {number: _told(of, made.get(number, ())) for number, of in rows.items()}


def _made(connection: Connection, numbers: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
    made: dict[int, list[tuple[int, int]]] = {number: [] for number in numbers}
    if numbers:
        for number, send in connection.execute(_SENDS, {"numbers": numbers}):
            made[number].append((send, id_time(send)))
    return made


def _told(rows: Sequence[Any], made: Sequence[tuple[int, int]]) -> History:
    failed: dict[int, int] = {}
    for row in rows:
        if row.action == "failed" and row.send_id:
            failed.setdefault(row.send_id, row.at)
    return History(
        [entry(row.id, row) for row in rows], {row.id: row.policy_id for row in rows}, SendTimes(made, failed)
    )
