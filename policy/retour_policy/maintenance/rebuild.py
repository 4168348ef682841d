"""Rebuild: folds the facts of all addresses again, and compares what comes out with what the store has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update

from retour_policy.core.decide import State
from retour_policy.core.fold import Account
from retour_policy.core.state_json import from_dict
from retour_policy.ledger.accounts import lock, refolded, refolded_of, store
from retour_policy.ledger.policy_versions import all_policies
from retour_policy.store import schema
from retour_policy.store.addresses import Address
from retour_policy.store.database import Store
from retour_policy.store.suppressions import of_addresses

CHUNK = 500  # addresses a read transaction

_table = schema.address
_state = schema.address_state.c
_UNREADABLE = (ValueError, TypeError, AttributeError, KeyError)
_CLEAR = update(schema.address_state).where(_state.address_id == bindparam("number")).values(state={})
_STATES = select(_state.address_id, _state.state).where(_state.address_id.in_(bindparam("numbers", expanding=True)))


@dataclass(frozen=True, slots=True)
class Difference:
    """An address whose stored state is not what its facts make of it."""

    address: Address
    text: str | None
    stored: Account
    right: Account


def known(store_: Store) -> Iterator[list[tuple[Address, str | None]]]:
    """All addresses with their text (None: forgotten), in chunks, each read by itself."""
    last = 0
    while True:
        query = select(_table).where(_table.c.id > last).order_by(_table.c.id).limit(CHUNK)
        with store_.reading() as connection:
            chunk = [(Address(row.id, bytes(row.key)), row.text) for row in connection.execute(query)]
        if not chunk:
            return
        yield chunk
        last = chunk[-1][0].id


def differences(store_: Store) -> Iterator[Difference]:
    """Every address whose state or suppressions differ from what its facts lead to. Changes nothing."""
    for chunk in known(store_):
        with store_.reading() as connection:
            has = stored(connection, [address for address, _ in chunk])
            right = refolded_of(connection, [address.id for address, _ in chunk], all_policies(connection))
        for address, text in chunk:
            if has[address.id] != right[address.id][0]:
                yield Difference(address, text, has[address.id], right[address.id][0])


def mend(store_: Store, difference: Difference) -> None:
    """Write the right state of one address, folded once more under its lock."""
    with store_.writing() as connection:
        connection.execute(_CLEAR, {"number": difference.address.id})  # it may be none that can be read
        before = lock(connection, difference.address)
        store(connection, difference.address, before, refolded(connection, difference.address)[0])


def stored(connection: Connection, some: Sequence[Address]) -> dict[int, Account]:
    """What the store has of some addresses, by their numbers; a state that cannot be read is like no other."""
    try:
        return _stored(connection, some)
    except _UNREADABLE:
        return {one.id: _stored_or_damaged(connection, one) for one in some}


def _stored_or_damaged(connection: Connection, one: Address) -> Account:
    try:
        return _stored(connection, [one])[one.id]
    except _UNREADABLE:
        return Account(State(last=-1))


def _stored(connection: Connection, some: Sequence[Address]) -> dict[int, Account]:
    states = dict(connection.execute(_STATES, {"numbers": [one.id for one in some]}).all())
    rows = of_addresses(connection, [one.key for one in some])
    return {
        one.id: Account(from_dict(states.get(one.id) or {}), {row.scope: row for row in rows.get(one.key, ())})
        for one in some
    }
