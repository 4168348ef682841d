"""Rebuild: computes the state of all addresses again from their facts, and compares it with the stored one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from retour_policy.core.decide import State
from retour_policy.core.fold import Account
from retour_policy.ledger import accounts
from retour_policy.ledger.policy_versions import all_policies
from retour_policy.store import addresses, states
from retour_policy.store.addresses import Address
from retour_policy.store.database import Store

Reached = Callable[[int], None]
"""Is told the number of the last address that was looked at; they are in the order of their numbers."""
_UNREADABLE = (ValueError, TypeError, AttributeError, KeyError)


def ignore_progress(_: int) -> None:
    """For who does not show any."""


@dataclass(frozen=True, slots=True)
class Difference:
    """An address whose stored state is not the one that its facts lead to."""

    address: Address
    text: str | None
    stored: Account
    right: Account


def differences(store: Store, reached: Reached = ignore_progress) -> Iterator[Difference]:
    """Every address whose state or suppressions differ from what its facts lead to. Changes nothing."""
    for chunk in addresses.iterate_with_account(store):
        with store.reading() as connection:
            has = stored(connection, [address for address, _ in chunk])
            right = accounts.refolded_of(connection, [address.id for address, _ in chunk], all_policies(connection))
        for address, text in chunk:
            if has[address.id] != right[address.id][0]:
                yield Difference(address, text, has[address.id], right[address.id][0])
        reached(chunk[-1][0].id)


def correct(store: Store, difference: Difference) -> None:
    """Write the correct state of one address, computed again under its lock."""
    with store.writing() as connection:
        recompute(connection, [difference.address])


def recompute(connection: Connection, some: Sequence[Address]) -> None:
    """Write the correct states of some addresses, computed again under their locks."""
    some = sorted(some, key=lambda one: one.id)
    for address in some:
        states.clear(connection, address.id)  # the stored one may be unreadable
    before = accounts.lock_all(connection, some)
    after = accounts.refolded_of(connection, [one.id for one in some], all_policies(connection))
    accounts.write_all(connection, [(one, before[one.id], after[one.id][0]) for one in some])


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
