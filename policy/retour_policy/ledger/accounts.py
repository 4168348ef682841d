"""Accounts: the state and suppressions of addresses, locked, read, written, and folded anew from their facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, select, update

from retour_policy.core.decide import RuleSet
from retour_policy.core.fold import Account, StepResult, StreamPolicy, fold
from retour_policy.core.state_json import from_dict, to_dict
from retour_policy.core.suppression import Suppression
from retour_policy.errors import StoreRefused
from retour_policy.ledger import history
from retour_policy.ledger.history import History
from retour_policy.ledger.policy_versions import Policy, all_policies
from retour_policy.store import schema
from retour_policy.store.addresses import Address
from retour_policy.store.suppressions import of_addresses
from retour_policy.store.upsert import ignoring, replacing
from retour_policy.tokens.token import first_id

_suppression = schema.suppression
_state = schema.address_state
_LOCK = select(_state.c.state).where(_state.c.address_id == bindparam("id")).with_for_update()
_LOCK_ALL = (
    select(_state.c.address_id, _state.c.state)
    .where(_state.c.address_id.in_(bindparam("numbers", expanding=True)))
    .order_by(_state.c.address_id)
    .with_for_update()
)
_PUT_STATE = update(_state).where(_state.c.address_id == bindparam("id")).values(state=bindparam("new"))
_LIFT = delete(_suppression).where(
    _suppression.c.address_key == bindparam("key"), _suppression.c.scope == bindparam("where")
)
_ROWS = select(_suppression).where(_suppression.c.address_key == bindparam("key"))
_CHANGED = ("address_id", "cause", "since", "until", "tries", "fact_id", "note")


def lock(connection: Connection, address: Address) -> Account:
    """The address's account, its row locked until the transaction ends."""
    found = connection.scalar(_LOCK, {"id": address.id})
    if found is None:
        row = {"address_id": address.id, "state": {}}
        connection.execute(ignoring(connection, _state), row)
        found = connection.scalar(_LOCK, {"id": address.id})
    return Account(from_dict(found or {}), suppressions_of(connection, address))


def lock_all(connection: Connection, some: Sequence[Address]) -> dict[int, Account]:
    """The accounts of some addresses by their numbers, their rows locked in that order until the transaction ends."""
    new = [{"address_id": one.id, "state": {}} for one in sorted(some, key=lambda one: one.id)]
    connection.execute(ignoring(connection, _state), new)
    states = dict(connection.execute(_LOCK_ALL, {"numbers": [one.id for one in some]}).all())
    rows = of_addresses(connection, [one.key for one in some])
    return {
        one.id: Account(from_dict(states[one.id]), {row.scope: row for row in rows.get(one.key, ())}) for one in some
    }


def suppressions_of(connection: Connection, address: Address) -> dict[str, Suppression]:
    """The rows of an address, those that have run out included."""
    rows = connection.execute(_ROWS, {"key": address.key})
    return {
        row.scope: Suppression(row.scope, row.cause, row.since, row.until, row.note, bool(row.tries), row.fact_id)
        for row in rows
    }


def store(connection: Connection, address: Address, before: Account, after: Account) -> None:
    """Write what has changed."""
    store_all(connection, [(address, before, after)])


def store_all(connection: Connection, changed: Sequence[tuple[Address, Account, Account]]) -> None:
    """Write what has changed of some accounts: before, after."""
    states, gone, rows = list[dict[str, Any]](), list[dict[str, Any]](), list[dict[str, Any]]()
    for address, before, after in changed:
        if after.state != before.state:
            states.append({"id": address.id, "new": to_dict(after.state)})
        lifted = before.suppressions.keys() - after.suppressions.keys()
        gone += [{"key": address.key, "where": scope} for scope in lifted]
        kept = after.suppressions.items()
        rows += [_row(address, one) for scope, one in kept if one != before.suppressions.get(scope)]
    for statement, values in ((_PUT_STATE, states), (_LIFT, gone)):
        if values:
            connection.execute(statement, values)
    if rows:
        connection.execute(replacing(connection, _suppression, _CHANGED), rows)


def _row(address: Address, one: Suppression) -> dict[str, Any]:
    return {
        "address_key": address.key,
        "scope": one.scope,
        "address_id": address.id,
        "cause": one.cause,
        "since": one.since,
        "until": one.until,
        "tries": int(one.tries),
        "fact_id": one.fact,
        "note": one.note,
    }


def good_sends(connection: Connection, address_id: int, after: int, at: int, rules: RuleSet) -> int:
    """How many sends to the address made after `after` were good at `at`; at most `heal_sends` are looked for."""
    if not rules.heal_sends:
        return 0
    sent, fact = schema.send_recipient.c, schema.fact.c
    failed = exists().where(fact.send_id == sent.send_id, fact.address_id == address_id, fact.action == "failed")
    good = (
        select(sent.send_id)
        .where(
            sent.address_id == address_id,
            sent.send_id >= first_id(after + 1),
            sent.send_id < first_id(at - rules.heal_after + 1),
            ~failed,
        )
        .limit(rules.heal_sends)
    )
    return int(connection.scalar(select(func.count()).select_from(good.subquery())) or 0)


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
    """The same for some addresses at once, by their numbers; `sends` are theirs where they are known: see `told`."""
    return {number: _folded(one, policies, judge) for number, one in history.told(connection, numbers, sends).items()}


def _folded(told: History, known: Mapping[int, Policy], judge: Policy | None) -> tuple[Account, list[StepResult]]:
    grounds = {entry.id: _ground(known, told.policy_ids.get(entry.id), entry.stream, judge) for entry in told.entries}
    return fold(told.entries, grounds, told.sendings)


def _ground(known: Mapping[int, Policy], policy_id: int | None, stream: str, judge: Policy | None) -> StreamPolicy:
    policy = judge or known.get(policy_id or 0)
    if policy is None:
        raise StoreRefused(f"the store is damaged: it has no policy {policy_id} that its facts were judged by")
    return policy.ground(stream)
