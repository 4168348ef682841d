"""Personal data: what the rows about one address say about a person, read and erased."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, or_, select, union_all, update

from retour_policy.store import recent_failures, schema
from retour_policy.store.earlier_tries import UNHEARD
from retour_policy.store.sends import got_by

_address, _fact, _send, _sent = schema.address, schema.fact, schema.send, schema.send_recipient
_apart, _outbox = schema.recipient_apart, schema.outbox
_WRITE_DETAIL = update(_fact).where(_fact.c.id == bindparam("fact")).values(detail=bindparam("kept"))


def erase_text(connection: Connection, number: int) -> None:
    """Erase the text of an address, and at which side it was; its key, a hash, stays."""
    connection.execute(update(_address).where(_address.c.id == number).values(text=None))
    recent_failures.erase_side(connection, number)


def read_details(connection: Connection, number: int) -> Sequence[tuple[int, dict[str, Any]]]:
    """The facts about an address: their ids and details."""
    rows = connection.execute(select(_fact.c.id, _fact.c.detail).where(_fact.c.address_id == number))
    return [(fact, detail) for fact, detail in rows]


def write_details(connection: Connection, kept: Mapping[int, dict[str, Any]]) -> None:
    """Replace the details of facts, by their ids."""
    if kept:
        connection.execute(_WRITE_DETAIL, [{"fact": fact, "kept": detail} for fact, detail in kept.items()])


def erase_named(connection: Connection, number: int, key: bytes) -> None:
    """Erase whom failures of an address name instead of it, and that failures of others name it."""
    for theirs in (_fact.c.address_id == number, _fact.c.named_key == key):
        here = _fact.c.named_key.is_not(None)
        connection.execute(update(_fact).where(here, theirs).values(named_key=None))


def delete_waiting(connection: Connection, number: int) -> None:
    """Delete raw reports, and events and forwards that wait.

    One statement per index: with OR all rows would be read.
    """
    own = select(_fact.c.id).where(_fact.c.address_id == number)
    connection.execute(delete(schema.unread).where(schema.unread.c.fact_id.in_(own)))
    connection.execute(delete(_outbox).where(_outbox.c.fact_id.in_(own), _outbox.c.fact_id.is_not(None)))
    connection.execute(delete(_outbox).where(_outbox.c.ordering == number, _outbox.c.ordering.is_not(None)))


def erase_from_sends(connection: Connection, number: int) -> int:
    """Erase header values of messages that went to this address alone, and the names of all copies of its messages.

    How many sends went to it alone, resends included.
    """
    theirs = got_by(number)
    heard = select(_sent.c.send_id).where(_sent.c.send_id.in_(theirs))
    unheard = select(_apart.c.send_id).where(_apart.c.send_id.in_(theirs), _apart.c.why == UNHEARD)
    everybody = union_all(heard, unheard).subquery()
    alone = select(everybody.c.send_id).group_by(everybody.c.send_id).having(func.count() == 1)
    connection.execute(update(_send).where(_send.c.id.in_(theirs)).values(spool=None))
    erased = {"message_id": None, "tag": None, "queue_id": None, "spool": None}
    own, again = _send.c.id.in_(alone), and_(_send.c.resend_of.in_(alone), _send.c.resend_of.is_not(None))
    return sum(connection.execute(update(_send).where(sends).values(erased)).rowcount for sends in (own, again))


def read_copies(connection: Connection, number: int) -> list[str]:
    """The names of all copies, in the spool, of messages that went to an address."""
    theirs = got_by(number)
    here = or_(_send.c.id.in_(theirs), _send.c.resend_of.in_(theirs))
    return sorted(set(connection.scalars(select(_send.c.spool).where(here, _send.c.spool.is_not(None)))))
