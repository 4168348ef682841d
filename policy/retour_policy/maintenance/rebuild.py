"""Rebuild: computes the state of all addresses again from their facts, and compares it with the stored one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from retour_policy.core.decide import State
from retour_policy.core.fold import Account
from retour_policy.ledger import accounts
from retour_policy.ledger.policy_versions import all_policies
from retour_policy.store import addresses, states
from retour_policy.store.addresses import Address
from retour_policy.store.database import Store

_UNREADABLE = (ValueError, TypeError, AttributeError, KeyError)


@dataclass(frozen=True, slots=True)
class Difference:
    """An address whose stored state is not the one that its facts lead to."""

    address: Address
    text: str | None
    stored: Account
    right: Account


def differences(store: Store) -> Iterator[Difference]:
    """Every address whose state or suppressions differ from what its facts lead to. Changes nothing."""
    for chunk in addresses.iterate(store):
        with store.reading() as connection:
            has = stored(connection, [address for address, _ in chunk])
            right = accounts.refolded_of(connection, [address.id for address, _ in chunk], all_policies(connection))
        for address, text in chunk:
            if has[address.id] != right[address.id][0]:
                yield Difference(address, text, has[address.id], right[address.id][0])


def correct(store: Store, difference: Difference) -> None:
    """Write the correct state of one address, computed again under its lock."""
    address = difference.address
    with store.writing() as connection:
        states.clear(connection, address.id)  # the stored one may be unreadable
        before = accounts.lock(connection, address)
        accounts.write(connection, address, before, accounts.refolded(connection, address)[0])


def stored(connection: Connection, some: Sequence[Address]) -> dict[int, Account]:
    """The stored accounts of some addresses, by their numbers; an unreadable one differs from any other."""
    try:
        return accounts.read(connection, some)
    except _UNREADABLE:
        return {one.id: _stored_or_damaged(connection, one) for one in some}


def _stored_or_damaged(connection: Connection, one: Address) -> Account:
    try:
        return accounts.read(connection, [one])[one.id]
    except _UNREADABLE:
        return Account(State(last=-1))
