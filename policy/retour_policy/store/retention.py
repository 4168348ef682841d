"""Retention: which rows are older than what is kept, and how they are deleted, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, delete, exists, func, or_, select, tuple_

from retour_policy.store import schema
from retour_policy.store.addresses import Address
from retour_policy.store.batches import in_batches
from retour_policy.store.database import Store

MAX_ADDRESSES_READ = 1_000  # in one transaction
MAX_ROWS_READ = 2_000  # in one transaction
MAX_ROWS_DELETED = 50  # at a time; a short transaction takes several times as many
_fact, _sent, _send, _seen = schema.fact, schema.send_recipient, schema.send, schema.seen
_apart, _counter = schema.recipient_apart, schema.storm_counter
_BY_IDS = select(schema.address.c.id).where(schema.address.c.id.in_(bindparam("numbers", expanding=True)))
_LOCK_UNLOCKED = _BY_IDS.with_for_update(skip_locked=True)
_KEEP_BY_IDS = _BY_IDS.with_for_update(read=True, key_share=True)
_COUNTS_FOR_NOBODY = or_(_fact.c.address_id.is_(None), _fact.c.policy_id.is_(None))


@dataclass(frozen=True)
class TableSweep:
    """Goes once through a table in the order of an index, and deletes old rows, a few per transaction."""

    table: Table
    order: tuple[Any, ...]
    to_go: ColumnElement[bool]
    delete_rows: Callable[[Connection, Sequence[Any]], None] | None = None
    """None: rows of the table itself, by their order."""

    def run(self, store: Store) -> Iterator[int]:
        """Delete the rows; yields how many each transaction deleted; none is open then.

        Raises `StoreUnavailable`.
        """
        last: Any = None
        while True:
            query = select(*self.order).where(self.to_go).order_by(*self.order).limit(MAX_ROWS_READ)
            if last is not None:
                query = query.where(tuple_(*self.order) > tuple_(*last))
            with store.reading() as connection:
                keys = [tuple(row) for row in connection.execute(query)]
            if not keys:
                return
            for _, deleted in in_batches(store, keys, MAX_ROWS_DELETED, self._delete):
                yield deleted
            last = keys[-1]

    def _delete(self, connection: Connection, keys: Sequence[Any]) -> int:
        (self.delete_rows or self._delete_by_order)(connection, keys)
        return len(keys)

    def _delete_by_order(self, connection: Connection, keys: Sequence[Any]) -> None:
        names = [f"key{number}" for number in range(len(self.order))]
        here = and_(*(column == bindparam(name) for column, name in zip(self.order, names, strict=True)))
        connection.execute(delete(self.table).where(here), [dict(zip(names, key, strict=True)) for key in keys])


def facts_without_account(before: int) -> TableSweep:
    """Facts from before that time (milliseconds) that do not count."""
    to_go = and_(_fact.c.at < before, _COUNTS_FOR_NOBODY)
    return TableSweep(_fact, (_fact.c.at, _fact.c.id), to_go, _delete_facts_by_keys)


def send_recipients(before: int, first_send: int) -> TableSweep:
    """Recipients' parts in sends below the id `first_send`, if no remaining fact needs them.

    Also kept are those of addresses with facts from before that time that are not carried forward yet.
    """
    known = exists().where(_fact.c.address_id == _sent.c.address_id, _fact.c.policy_id.is_not(None))
    about_it = known.where(_fact.c.send_id == _sent.c.send_id)
    kept_back = known.where(_fact.c.at < before, _fact.c.kind != "carried")
    to_go = and_(_sent.c.send_id < first_send, ~about_it, ~kept_back)
    return TableSweep(_sent, (_sent.c.send_id, _sent.c.address_id), to_go)


def recipients_apart(first_send: int) -> TableSweep:
    """Recipients that were withheld, or of whom no report comes, of sends below that id that nobody else keeps."""
    to_go = and_(_apart.c.send_id < first_send, ~exists().where(_sent.c.send_id == _apart.c.send_id))
    return TableSweep(_apart, (_apart.c.send_id, _apart.c.address_id), to_go)


def sends_without_recipients(first_send: int) -> TableSweep:
    """Sends below the id `first_send` whose recipients' parts are deleted."""
    parts = (~exists().where(table.c.send_id == _send.c.id) for table in (_sent, _apart))
    to_go = and_(_send.c.id < first_send, *parts)
    return TableSweep(_send, (_send.c.id,), to_go)


def storm_counters(before: int) -> TableSweep:
    """Counters of mail that was sent before that time."""
    return TableSweep(_counter, tuple(_counter.primary_key), _counter.c.bucket < before)


def seen_messages(before: int) -> TableSweep:
    """Fingerprints of messages that were returned before that time."""
    return TableSweep(_seen, (_seen.c.at, _seen.c.send_id, _seen.c.digest), _seen.c.at < before)


def unsubscribe_counters(before: int) -> TableSweep:
    """Counters of those who unsubscribed before that time."""
    rows = schema.unsubscribe_counter
    return TableSweep(rows, tuple(rows.primary_key), rows.c.bucket < before)


def old_subscriptions(before: int) -> TableSweep:
    """Subscriptions whose latest token was made before that time."""
    rows = schema.subscription
    return TableSweep(rows, (rows.c.number,), rows.c.at < before)


def unknown_addresses() -> TableSweep:
    """Addresses to which nothing was sent for long, and about which nothing is known."""
    return TableSweep(schema.address, (schema.address.c.id,), _nothing_known(), delete_unknown_addresses)


def iterate_addresses_to_carry(store: Store, before: int, first_send: int) -> Iterator[list[tuple[Address, int]]]:
    """The addresses that have facts from before that time, and how many rows there are about each, in chunks.

    An address that has only carried facts is included only if it has parts in sends below `first_send`. Each
    chunk is read in a transaction of its own.
    """
    number = schema.address.c.id
    own = and_(_fact.c.address_id == number, _fact.c.at < before, _fact.c.policy_id.is_not(None))
    fresh = exists().where(own, _fact.c.kind != "carried")
    sent = exists().where(_sent.c.address_id == number, _sent.c.send_id < first_send)
    wanted = or_(fresh, and_(sent, exists().where(own)))
    last = 0
    while True:
        with store.reading() as connection:
            ids = select(number).where(number > last).order_by(number).limit(MAX_ADDRESSES_READ).subquery()
            end = connection.scalar(select(func.max(ids.c.id)))
            if end is None:
                return
            here = select(number, schema.address.c.key, _rows_about(number))
            here = here.where(number > last, number <= end, wanted).order_by(number)
            found = [(Address(one, bytes(key)), rows) for one, key, rows in connection.execute(here)]
        yield found
        last = end


def _rows_about(number: ColumnElement[int]) -> ColumnElement[int]:
    facts, sends = (
        select(func.count()).where(table.c.address_id == number).scalar_subquery() for table in (_fact, _sent)
    )
    return facts + sends


def keep_addresses(connection: Connection, numbers: Sequence[int]) -> set[int]:
    """Those of the addresses that still exist; none of them is deleted before the transaction ends."""
    return set(connection.scalars(_KEEP_BY_IDS, {"numbers": numbers}))


def delete_facts(connection: Connection, numbers: Sequence[int]) -> None:
    """Delete facts, what was kept of reports that could not be read, and that a storm may take them back."""
    rows = [{"number": number} for number in numbers]
    for table in (schema.unread, schema.recent_failure):
        connection.execute(delete(table).where(table.c.fact_id == bindparam("number")), rows)
    connection.execute(delete(_fact).where(_fact.c.id == bindparam("number")), rows)


def _delete_facts_by_keys(connection: Connection, keys: Sequence[Any]) -> None:
    delete_facts(connection, [number for _, number in keys])


def delete_send_recipients(connection: Connection, parts: Sequence[tuple[int, int]]) -> None:
    """Delete recipients' parts in sends: send id, address number."""
    if parts:
        here = and_(_sent.c.send_id == bindparam("send"), _sent.c.address_id == bindparam("to"))
        connection.execute(delete(_sent).where(here), [{"to": to, "send": send} for send, to in parts])


def delete_unknown_addresses(connection: Connection, keys: Sequence[Any]) -> None:
    """Delete those about which nothing has become known meanwhile, and about which no other host is writing."""
    locked = connection.scalars(_LOCK_UNLOCKED, {"numbers": [number for (number,) in keys]}).all()
    here = select(schema.address.c.id).where(schema.address.c.id.in_(locked), _nothing_known())
    numbers = connection.scalars(here).all()  # a statement of its own sees what was written until these were locked
    for table, column in ((schema.address_state, "address_id"), (schema.address, "id")):
        connection.execute(delete(table).where(table.c[column].in_(numbers)))


def _nothing_known() -> ColumnElement[bool]:
    """An address to which nothing was sent for long, and about which nothing is known. An erased one stays."""
    number = schema.address.c.id
    tables = (_fact, _sent, _apart, schema.suppression, schema.subscription)
    return and_(schema.address.c.text.is_not(None), *(~exists().where(one.c.address_id == number) for one in tables))
