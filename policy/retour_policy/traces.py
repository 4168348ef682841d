"""Traces: where in the store one address is mentioned beside what is about it, and how that is taken out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Table,
    Text,
    and_,
    cast,
    delete,
    func,
    or_,
    select,
    true,
    update,
)

from retour_policy import schema
from retour_policy.forgotten import kept_of_forgotten
from retour_policy.ledger import Address, lock, refolded, store
from retour_policy.mention import Mention
from retour_policy.portions import in_portions
from retour_policy.store import Store

LOOKED_AT = 10_000  # rows in one reading
BODIES = 50  # messages in one reading
_fact, _send, _outbox, _unread = schema.fact, schema.send, schema.outbox, schema.unread
_NAMES = ("recipient", "original_recipient", "conflict")
_SAID = ("message_id", "tag", "queue_id")


@dataclass(frozen=True)
class _Place:
    """A table, and what to do with a row of it that mentions the address."""

    table: Table
    key: Column[int]
    texts: Sequence[Any]
    """Columns that the database itself can look through; none: each row is looked at."""
    mend: Callable[[Connection, Any, Mention], bool]
    at_once: int = LOOKED_AT


def forget_mentions(store_: Store, mention: Mention) -> Iterator[int]:
    """Take the address out of all that is about others or about nobody; yields how many rows each transaction changed.

    Reads the whole store, a part at a time, and can be run again at any time.
    """
    for place in _PLACES:
        for keys in _found(store_, place, mention):
            for _, changed in in_portions(store_, keys, 1, _mending(place, mention)):
                yield changed


def _mending(place: _Place, mention: Mention) -> Callable[[Connection, Sequence[int]], int]:
    def work(connection: Connection, keys: Sequence[int]) -> int:
        rows = connection.execute(select(place.table).where(place.key.in_(keys))).all()
        return sum(place.mend(connection, row, mention) for row in rows)

    return work


def _found(store_: Store, place: _Place, mention: Mention) -> Iterator[list[int]]:
    """The rows that may mention it."""
    wanted = or_(*(_may_hold(text, mention) for text in place.texts)) if place.texts else true()
    last = -1
    while True:
        with store_.reading() as connection:
            some = select(place.key).where(place.key > last).order_by(place.key).limit(place.at_once).subquery()
            end = connection.scalar(select(func.max(some.c[0])))
            if end is None:
                return
            here = select(place.key).where(place.key > last, place.key <= end, wanted)
            keys = list(connection.scalars(here))
        yield keys
        last = end


def _may_hold(text: Any, mention: Mention) -> ColumnElement[bool]:
    return and_(*(or_(*(text.ilike(f"%{needle}%") for needle in one_of)) for one_of in mention.needles))


def _mend_fact(connection: Connection, row: Any, mention: Mention) -> bool:
    detail = mention.without(row.detail)
    if detail == row.detail:
        return False
    if any(mention.is_in(row.detail.get(name) or "") for name in _NAMES):  # its words are about him
        detail = kept_of_forgotten(row.detail)
    connection.execute(update(_fact).where(_fact.c.id == row.id).values(detail=detail))
    if row.address_id is not None and row.policy_id is not None:  # a note is shown with the suppression, too
        key = connection.scalar(select(schema.address.c.key).where(schema.address.c.id == row.address_id))
        address = Address(row.address_id, bytes(key or b""))
        before = lock(connection, address)
        store(connection, address, before, refolded(connection, address)[0])
    return True


def _mend_send(connection: Connection, row: Any, mention: Mention) -> bool:
    said = {name: None for name in _SAID if mention.is_in(getattr(row, name) or "")}
    sender = {"sender": mention.without(row.sender)} if mention.is_in(row.sender) else {}
    if said or sender:
        connection.execute(update(_send).where(_send.c.id == row.id).values(said | sender))
    return bool(said or sender)


def _mend_item(connection: Connection, row: Any, mention: Mention) -> bool:
    """An event loses the address; a message that names it goes."""
    is_mail = row.kind == "forward"
    body = bytes(row.body)
    if not (mention.is_in_mail(body) if is_mail else mention.is_in(body.decode("utf-8", "replace"))):
        error = mention.without(row.error)
        if error != row.error:
            connection.execute(update(_outbox).where(_outbox.c.id == row.id).values(error=error))
        return bool(error != row.error)
    if is_mail:
        connection.execute(delete(_outbox).where(_outbox.c.id == row.id))
    else:
        told = mention.without(body.decode("utf-8", "replace")).encode()
        values = {"body": told, "error": mention.without(row.error)}
        connection.execute(update(_outbox).where(_outbox.c.id == row.id).values(values))
    return True


def _mend_unread(connection: Connection, row: Any, mention: Mention) -> bool:
    if not mention.is_in_mail(bytes(row.head)):
        return False
    connection.execute(delete(_unread).where(_unread.c.fact_id == row.fact_id))
    return True


_PLACES = (
    _Place(_fact, _fact.c.id, [cast(_fact.c.detail, Text)], _mend_fact),
    _Place(_send, _send.c.id, [_send.c.sender, *(_send.c[name] for name in _SAID)], _mend_send),
    _Place(_outbox, _outbox.c.id, [], _mend_item, BODIES),
    _Place(_unread, _unread.c.fact_id, [], _mend_unread, BODIES),
)
