"""Traces: where in the store one address is mentioned beside what is about it, and how that is taken out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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

from retour_policy.core.erased import kept_of_erased, notes_of
from retour_policy.core.fold import Account
from retour_policy.erasure.matcher import AddressMatcher
from retour_policy.ledger.accounts import lock, write
from retour_policy.store import schema
from retour_policy.store.addresses import Address
from retour_policy.store.batches import in_portions
from retour_policy.store.database import Store

LOOKED_AT = 10_000  # rows in one reading
EVENTS = 1_000  # events in one reading
BODIES = 50  # messages in one reading
_fact, _send, _outbox, _unread = schema.fact, schema.send, schema.outbox, schema.unread
_suppression = schema.suppression
_NAMES = ("recipient", "original_recipient", "conflict")
_SAID = ("message_id", "tag", "queue_id")


@dataclass(frozen=True)
class _RedactionTarget:
    """A table, how it is seen that a row of it mentions the address, and what is done with that row then."""

    table: Table
    key: Column[int]
    may: Callable[[AddressMatcher], ColumnElement[bool]]
    """What the database itself can leave out."""
    names: Callable[[Any, AddressMatcher], bool]
    """Looks at a row, as it was read; no lock is held."""
    mend: Callable[[Connection, int, AddressMatcher], bool]
    """Looks again at the row with that key, as it may have changed or gone, and takes the address out of it."""
    at_once: int = LOOKED_AT


def forget_mentions(store_: Store, mention: AddressMatcher) -> Iterator[int]:
    """Take the address out of all that is about others or about nobody; yields how many rows each transaction changed.

    Reads the whole store, a part at a time, and can be run again at any time. Only what mentions it is written.
    """
    for place in _PLACES:
        for keys in _found(store_, place, mention):
            for _, changed in in_portions(store_, keys, 1, _mending(place, mention)):
                yield changed


def _mending(place: _RedactionTarget, mention: AddressMatcher) -> Callable[[Connection, Sequence[int]], int]:
    def work(connection: Connection, keys: Sequence[int]) -> int:
        return sum(place.mend(connection, key, mention) for key in keys)

    return work


def _found(store_: Store, place: _RedactionTarget, mention: AddressMatcher) -> Iterator[list[int]]:
    """The keys of the rows that mention it."""
    last = -1
    while True:
        with store_.reading() as connection:
            some = select(place.key).where(place.key > last).order_by(place.key).limit(place.at_once).subquery()
            end = connection.scalar(select(func.max(some.c[0])))
            if end is None:
                return
            here = select(place.table).where(place.key > last, place.key <= end, place.may(mention))
            rows = connection.execute(here).yield_per(BODIES)
            found = {row._mapping[place.key]: None for row in rows if place.names(row, mention)}
        yield list(found)
        last = end


def _may_hold(*texts: Any) -> Callable[[AddressMatcher], ColumnElement[bool]]:
    """One of the columns holds a needle of each list."""

    def may(mention: AddressMatcher) -> ColumnElement[bool]:
        return or_(*(_holds(text, mention) for text in texts))

    return may


def _holds(text: Any, mention: AddressMatcher) -> ColumnElement[bool]:
    return and_(*(or_(*(text.ilike(f"%{needle}%") for needle in one_of)) for one_of in mention.needles))


def _in_fact(row: Any, mention: AddressMatcher) -> bool:
    return bool(mention.without(row.detail) != row.detail)


def _mend_fact(connection: Connection, number: int, mention: AddressMatcher) -> bool:
    row = connection.execute(select(_fact.c.address_id, _fact.c.detail).where(_fact.c.id == number)).first()
    if row is None or not _in_fact(row, mention):
        return False
    detail = mention.without(row.detail)
    if any(mention.is_in(row.detail.get(name) or "") for name in _NAMES):  # its words are about him
        detail = kept_of_erased(row.detail)
    if row.address_id is not None and notes_of(detail) != notes_of(row.detail):
        _locked(connection, row.address_id)  # who folds them just now puts its old note where it is looked for below
    connection.execute(update(_fact).where(_fact.c.id == number).values(detail=detail))
    return True


def _locked(connection: Connection, number: int) -> tuple[Address, Account]:
    key = connection.scalar(select(schema.address.c.key).where(schema.address.c.id == number))
    address = Address(number, bytes(key or b""))
    return address, lock(connection, address)


def _mend_suppressions(connection: Connection, number: int, mention: AddressMatcher) -> bool:
    """The notes of an address: the same is left of them as of the facts that they come from."""
    address, before = _locked(connection, number)
    after = {scope: replace(one, note=mention.without(one.note)) for scope, one in before.suppressions.items()}
    write(connection, address, before, replace(before, suppressions=after))
    return after != before.suppressions


def _in_send(row: Any, mention: AddressMatcher) -> bool:
    return any(mention.is_in(getattr(row, name) or "") for name in ("sender", *_SAID))


def _mend_send(connection: Connection, number: int, mention: AddressMatcher) -> bool:
    row = connection.execute(select(_send).where(_send.c.id == number)).first()
    if row is None or not _in_send(row, mention):
        return False
    said = {name: None for name in _SAID if mention.is_in(getattr(row, name) or "")}
    values = said | {"sender": mention.without(row.sender)}
    connection.execute(update(_send).where(_send.c.id == number).values(values))
    return True


def _event_without(body: bytes, mention: AddressMatcher) -> bytes:
    """An event's JSON without the address; as it is where it does not mention it."""
    if not mention.may_be_in(body):
        return body
    text = body.decode("utf-8", "replace")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return mention.without(text).encode() if mention.is_in(text) else body
    left = mention.without(told)
    return json.dumps(left, ensure_ascii=False).encode() if left != told else body


def _in_event(row: Any, mention: AddressMatcher) -> bool:
    body = bytes(row.body)
    return _event_without(body, mention) != body


def _mend_event(connection: Connection, number: int, mention: AddressMatcher) -> bool:
    body = bytes(connection.scalar(select(_outbox.c.body).where(_outbox.c.id == number)) or b"")
    left = _event_without(body, mention)
    if left == body:
        return False
    connection.execute(update(_outbox).where(_outbox.c.id == number).values(body=left))
    return True


def _in_forward(row: Any, mention: AddressMatcher) -> bool:
    return mention.is_in_mail(bytes(row.body))


def _drop_forward(connection: Connection, number: int, _: AddressMatcher) -> bool:
    """Not decoded again while others wait: its body never changes, and no other item gets its number."""
    gone = delete(_outbox).where(_outbox.c.id == number, _outbox.c.kind == "forward")
    return connection.execute(gone).rowcount > 0


def _in_error(row: Any, mention: AddressMatcher) -> bool:
    return mention.is_in(row.error)


def _mend_error(connection: Connection, number: int, mention: AddressMatcher) -> bool:
    row = connection.execute(select(_outbox.c.error).where(_outbox.c.id == number)).first()
    if row is None or not _in_error(row, mention):
        return False
    connection.execute(update(_outbox).where(_outbox.c.id == number).values(error=mention.without(row.error)))
    return True


def _in_unread(row: Any, mention: AddressMatcher) -> bool:
    return mention.is_in_mail(bytes(row.head))


def _drop_unread(connection: Connection, number: int, _: AddressMatcher) -> bool:
    return connection.execute(delete(_unread).where(_unread.c.fact_id == number)).rowcount > 0


_ID = _outbox.c.id
_PLACES = (
    _RedactionTarget(_fact, _fact.c.id, _may_hold(cast(_fact.c.detail, Text)), _in_fact, _mend_fact),
    _RedactionTarget(
        _suppression,
        _suppression.c.address_id,
        _may_hold(_suppression.c.note),
        lambda row, mention: mention.is_in(row.note),
        _mend_suppressions,
    ),
    _RedactionTarget(
        _send, _send.c.id, _may_hold(_send.c.sender, *(_send.c[name] for name in _SAID)), _in_send, _mend_send
    ),
    _RedactionTarget(_outbox, _ID, lambda _: _outbox.c.kind != "forward", _in_event, _mend_event, EVENTS),
    _RedactionTarget(_outbox, _ID, lambda _: _outbox.c.kind == "forward", _in_forward, _drop_forward, BODIES),
    _RedactionTarget(_outbox, _ID, _may_hold(_outbox.c.error), _in_error, _mend_error),
    _RedactionTarget(_unread, _unread.c.fact_id, lambda _: true(), _in_unread, _drop_unread, BODIES),
)
