"""Rebuild: folds the facts of all addresses again, and compares what comes out with what the store has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select

from retour_policy import schema
from retour_policy.fold import Account
from retour_policy.ledger import Address, lock, refolded, store, suppressions_of
from retour_policy.policies import Policy, all_policies
from retour_policy.state_json import from_dict
from retour_policy.store import Store

CHUNK = 200  # addresses a read transaction

_table = schema.address
_state = schema.address_state


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
            policies = all_policies(connection)
            found = [_difference(connection, address, text, policies) for address, text in chunk]
        yield from (one for one in found if one is not None)


def mend(store_: Store, difference: Difference) -> None:
    """Write the right state of one address, folded once more under its lock."""
    with store_.writing() as connection:
        before = lock(connection, difference.address)
        store(connection, difference.address, before, refolded(connection, difference.address)[0])


def stored(connection: Connection, address: Address) -> Account:
    """What the store has of an address."""
    state = connection.scalar(select(_state.c.state).where(_state.c.address_id == address.id))
    return Account(from_dict(state or {}), suppressions_of(connection, address))


def _difference(
    connection: Connection, address: Address, text: str | None, policies: dict[int, Policy]
) -> Difference | None:
    has = stored(connection, address)
    right, _ = refolded(connection, address, policies)
    return None if has == right else Difference(address, text, has, right)
