"""Trace: which sends a queue id, a Message-ID or an address belongs to, and what came of a send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, null, select, union, union_all

from retour_policy.store import facts, schema
from retour_policy.store.addresses import Address
from retour_policy.store.facts import Fact, FactFilter

_send, _to, _apart = schema.send.c, schema.send_recipient.c, schema.recipient_apart.c
_fact, _outbox = schema.fact.c, schema.outbox.c


@dataclass(frozen=True, slots=True)
class TracedRecipient:
    """Whom a message was for."""

    address: Address
    text: str | None
    """None once erased."""
    apart: str | None
    """withheld, unheard (no report comes) or waiting; None: it went to them as usual."""


@dataclass(frozen=True, slots=True)
class PendingItem:
    """What is still to be done outside about a fact, or could not be done."""

    fact_id: int
    channel: str
    target: str
    attempts: int
    dead: bool
    """It is not tried again."""
    error: str


@dataclass(frozen=True, slots=True)
class TracedSend:
    """A message that went out, and what came back."""

    id: int
    stream: str
    sender: str
    message_id: str | None
    tag: str | None
    queue_id: str | None
    resend_of: int | None
    recipients: tuple[TracedRecipient, ...]
    facts: tuple[Fact, ...]
    pending: tuple[PendingItem, ...]


def find_by_queue_id(connection: Connection, queue_id: str, limit: int) -> list[int]:
    """The latest sends that went out, or whose reports came in, under a queue id of the mail server.

    No index: it would cost each message something, and a person asks seldom. All sends and facts are looked through.
    """
    sent = _latest(connection, _send.queue_id == queue_id, limit)
    if sent:
        return sent
    reported = select(_fact.send_id).where(_fact.detail["queue_id"].as_string() == queue_id, _fact.send_id.is_not(None))
    numbers = connection.scalars(reported.distinct().order_by(_fact.send_id.desc()).limit(limit)).all()
    return [number for number in numbers if number is not None]


def find_by_message_id(connection: Connection, message_id: str, limit: int) -> list[int]:
    """The latest sends of a Message-ID, with or without its <>."""
    bare = message_id.strip("<>")
    return _latest(connection, _send.message_id.in_((bare, f"<{bare}>")), limit)


def find_by_address(connection: Connection, address_id: int, limit: int) -> list[int]:
    """The latest sends to an address, also those that it was withheld from."""
    sent = select(_to.send_id).where(_to.address_id == address_id)
    apart = select(_apart.send_id).where(_apart.address_id == address_id)
    both = union(sent, apart).subquery()
    return list(connection.scalars(select(both.c.send_id).order_by(both.c.send_id.desc()).limit(limit)))


def find(connection: Connection, number: int) -> TracedSend | None:
    """The send of that id, with all that the store has about it."""
    row = connection.execute(select(schema.send).where(_send.id == number)).first()
    if row is None:
        return None
    first = row.resend_of or row.id
    found = facts.read(connection, FactFilter(send_id=first))
    return TracedSend(
        row.id,
        row.stream,
        row.sender,
        row.message_id,
        row.tag,
        row.queue_id,
        row.resend_of,
        tuple(_recipients(connection, first)),
        tuple(found),
        tuple(_pending(connection, [fact.id for fact in found])),
    )


def _latest(connection: Connection, wanted: ColumnElement[bool], limit: int) -> list[int]:
    return list(connection.scalars(select(_send.id).where(wanted).order_by(_send.id.desc()).limit(limit)))


def _recipients(connection: Connection, number: int) -> list[TracedRecipient]:
    address = schema.address.c
    sent = select(address.id, address.key, address.text, null().label("why")).join(
        schema.send_recipient, _to.address_id == address.id
    )
    apart = select(address.id, address.key, address.text, _apart.why).join(
        schema.recipient_apart, _apart.address_id == address.id
    )
    both = union_all(sent.where(_to.send_id == number), apart.where(_apart.send_id == number))
    rows = sorted(connection.execute(both), key=lambda row: int(row.id))
    return [TracedRecipient(Address(row.id, bytes(row.key)), row.text, row.why) for row in rows]


def _pending(connection: Connection, fact_ids: Sequence[int]) -> list[PendingItem]:
    columns = (_outbox.fact_id, _outbox.channel, _outbox.target, _outbox.attempts, _outbox.failed, _outbox.error)
    query = select(*columns).where(_outbox.fact_id.in_(fact_ids)).order_by(_outbox.id)
    return [PendingItem(*row[:4], bool(row.failed), row.error) for row in connection.execute(query)] if fact_ids else []
