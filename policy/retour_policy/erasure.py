"""Erasure: forgets a person and still knows not to write to him."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, update

from retour_policy import schema
from retour_policy.ledger import Address, lock, refolded, store

_address, _fact, _send, _sent = schema.address, schema.fact, schema.send, schema.send_recipient
KEPT = frozenset(
    {"scope", "scopes", "facts", "until", "since", "cause", "state", "suppressions", "dated", "storm", "resend", "of"}
)
"""What a fact's detail keeps: what the fold needs, and nothing that tells of a person."""


def kept_of_forgotten(detail: Mapping[str, Any]) -> dict[str, Any]:
    """What stays of the detail of a fact about a person who was forgotten."""
    kept = {name: value for name, value in detail.items() if name in KEPT}
    if "suppressions" in kept:  # as a purge carried them over, with the postmaster's notes
        kept["suppressions"] = [one | {"note": ""} for one in kept["suppressions"]]
    return kept


def erase(connection: Connection, address: Address) -> int:
    """Forget the text of an address, and what its facts and sends say of a person; how many rows changed.

    Kept are the address's key (a hash), what was counted, and its suppressions.
    """
    before = lock(connection, address)
    connection.execute(update(_address).where(_address.c.id == address.id).values(text=None))
    changed = 1 + _facts(connection, address.id) + _sends(connection, address.id)
    connection.execute(delete(schema.outbox).where(schema.outbox.c.ordering == address.id))
    store(connection, address, before, refolded(connection, address)[0])
    return changed


def _facts(connection: Connection, number: int) -> int:
    rows = connection.execute(select(_fact.c.id, _fact.c.detail).where(_fact.c.address_id == number)).all()
    for fact, detail in rows:
        connection.execute(update(_fact).where(_fact.c.id == fact).values(detail=kept_of_forgotten(detail)))
        connection.execute(delete(schema.unread).where(schema.unread.c.fact_id == fact))
        connection.execute(delete(schema.outbox).where(schema.outbox.c.fact_id == fact))
    return len(rows)


def _sends(connection: Connection, number: int) -> int:
    """Header values of messages that went to this address alone."""
    alone = (
        select(_sent.c.send_id)
        .where(_sent.c.send_id.in_(select(_sent.c.send_id).where(_sent.c.address_id == number)))
        .group_by(_sent.c.send_id)
        .having(func.count() == 1)
    )
    gone = {"message_id": None, "tag": None, "queue_id": None, "spool": None}  # the courier removes the copy
    theirs = or_(_send.c.id.in_(alone), _send.c.resend_of.in_(alone))
    return connection.execute(update(_send).where(theirs).values(gone)).rowcount
