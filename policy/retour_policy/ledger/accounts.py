"""Accounts: the state and suppressions of addresses, locked, read, written, and computed again from their facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from retour_policy.core.decide import State
from retour_policy.core.fold import Account, StepResult, StreamPolicy, fold
from retour_policy.core.suppression import Suppression
from retour_policy.errors import StoreRefused
from retour_policy.ledger import history
from retour_policy.ledger.history import History
from retour_policy.ledger.policy_versions import Policy, all_policies
from retour_policy.store import states, suppressions
from retour_policy.store.addresses import Address


def lock(connection: Connection, address: Address) -> Account:
    """The address's account, its row locked until the transaction ends."""
    state = states.lock(connection, address.id)
    return _with_suppressions(connection, [address], {address.id: state})[address.id]


def lock_all(connection: Connection, addresses: Sequence[Address]) -> dict[int, Account]:
    """The accounts of some addresses by their numbers, their rows locked in that order until the transaction ends."""
    return _with_suppressions(connection, addresses, states.lock_all(connection, [one.id for one in addresses]))


def read(connection: Connection, addresses: Sequence[Address]) -> dict[int, Account]:
    """The accounts of some addresses by their numbers, as the store has them. Nothing is locked.

    Raises what decoding raises, if a stored state is damaged.
    """
    return _with_suppressions(connection, addresses, states.read(connection, [one.id for one in addresses]))


def _with_suppressions(
    connection: Connection, addresses: Sequence[Address], states_: Mapping[int, State]
) -> dict[int, Account]:
    rows = suppressions.read(connection, [one.key for one in addresses])
    return {one.id: Account(states_[one.id], {row.scope: row for row in rows.get(one.key, ())}) for one in addresses}


def write(connection: Connection, address: Address, before: Account, after: Account) -> None:
    """Write what has changed in the account of an address, which is locked."""
    write_all(connection, [(address, before, after)])


def write_all(connection: Connection, changed: Sequence[tuple[Address, Account, Account]]) -> None:
    """Write what has changed in some accounts, which are locked: before, after."""
    lifted, new = list[tuple[Address, str]](), list[tuple[Address, Suppression]]()
    for address, before, after in changed:
        lifted += [(address, scope) for scope in before.suppressions.keys() - after.suppressions.keys()]
        kept = after.suppressions.items()
        new += [(address, one) for scope, one in kept if one != before.suppressions.get(scope)]
    states.write(connection, {to.id: after.state for to, before, after in changed if after.state != before.state})
    suppressions.remove(connection, lifted)
    suppressions.write(connection, new)


def refolded(
    connection: Connection, address: Address, policies: Mapping[int, Policy] | None = None, judge: Policy | None = None
) -> tuple[Account, list[StepResult]]:
    """The account that all facts of the address lead to, and what each did.

    Each fact is judged by the policy that was in force then, or all of them by `judge`.
    """
    known = policies if policies is not None else all_policies(connection)
    return refolded_of(connection, [address.id], known, judge)[address.id]


def refolded_of(
    connection: Connection,
    numbers: Sequence[int],
    policies: Mapping[int, Policy],
    judge: Policy | None = None,
    sends: Mapping[int, Sequence[tuple[int, int]]] | None = None,
) -> dict[int, tuple[Account, list[StepResult]]]:
    """The same for some addresses by their numbers; `sends` are theirs, if known already: see `history.read`."""
    histories = history.read(connection, numbers, sends)
    return {number: folded(one, policies, judge) for number, one in histories.items()}


def folded(
    history_: History, policies: Mapping[int, Policy], judge: Policy | None = None
) -> tuple[Account, list[StepResult]]:
    """The account that a history leads to, and what each fact did."""
    return fold(history_.entries, stream_policies(history_, policies, judge), history_.send_times)


def stream_policies(
    history_: History, policies: Mapping[int, Policy], judge: Policy | None = None
) -> dict[int, StreamPolicy]:
    """By fact of a history: what it is judged by."""
    return {
        entry.id: _stream_policy(policies, history_.policy_ids.get(entry.id), entry.stream, judge)
        for entry in history_.entries
    }


def _stream_policy(
    policies: Mapping[int, Policy], policy_id: int | None, stream: str, judge: Policy | None
) -> StreamPolicy:
    policy = judge or policies.get(policy_id or 0)
    if policy is None:
        raise StoreRefused(f"the store is damaged: the policy {policy_id} that its facts refer to is missing")
    return policy.for_stream(stream)
