"""Purge: forgets what is old, after it has written down what that had come to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from sqlalchemy import Connection, and_, delete, or_, select

from retour_policy import facts, history, schema
from retour_policy.clock import DAY
from retour_policy.facts import NewFact
from retour_policy.fold import Account, Ground, Sendings, carry, fold, passed_over
from retour_policy.ledger import Address, first_id, lock
from retour_policy.policies import all_policies
from retour_policy.store import Store

SHORTEST = 90 * DAY  # what is younger is never purged: bounces of it may still come, and storms be settled
ADDRESSES = 20  # a transaction
ROWS = 500  # a transaction
_fact, _sent, _send = schema.fact, schema.send_recipient, schema.send


def purge(store: Store, before: int) -> Iterator[int]:
    """Forget facts and sends older than `before`, in short transactions; yields how many rows each took away.

    For every address one `carried` fact first holds its state. Can be stopped and run again at any time.
    """
    while True:
        with store.writing() as connection:
            done = _carry_some(connection, before)
        if not done:
            break
        yield done
    for statement in (_old_facts, _old_sends, _old_seen):
        while True:
            with store.writing() as connection:
                done = statement(connection, before)
            if not done:
                break
            yield done


def _carry_some(connection: Connection, before: int) -> int:
    """Replace the old facts of a few addresses by one each; how many facts went."""
    old = and_(_fact.c.at < before, _fact.c.address_id.is_not(None), _fact.c.policy_id.is_not(None))
    query = select(_fact.c.address_id).where(old, _fact.c.kind != "carried").distinct().limit(ADDRESSES)
    numbers = list(connection.scalars(query.order_by(_fact.c.address_id)))
    return sum(_carry(connection, number, before) for number in numbers)


def _carry(connection: Connection, number: int, before: int) -> int:
    key = connection.scalar(select(schema.address.c.key).where(schema.address.c.id == number))
    lock(connection, Address(number, bytes(key or b"")))
    told = history.told(connection, number)
    old = [entry for entry in told.entries if entry.at < before]
    policies = all_policies(connection)
    grounds = {entry.id: policies[told.policy_ids[entry.id]].ground(entry.stream) for entry in old}
    skipped = passed_over(told.entries)
    account, _ = fold([entry for entry in old if entry.id not in skipped], grounds, told.sendings)
    policy_id = told.policy_ids[old[-1].id]
    account = _with_good_sends(account, told.sendings, before, grounds[old[-1].id])
    new = NewFact(old[-1].at, "carried", number, policy_id=policy_id, detail=carry(account))
    gone = delete(_fact).where(_fact.c.address_id == number, _fact.c.at < before)
    _forget_unread(connection, _fact.c.address_id == number, before)
    went = connection.execute(gone).rowcount
    facts.write(connection, new)
    return went


def _with_good_sends(account: Account, sendings: Sendings, before: int, ground: Ground) -> Account:
    """The account with the good sends noted whose records will be purged."""
    counts = dict(account.state.counts)
    old = Sendings([(number, made) for number, made in sendings.made if made < before], sendings.failed)
    for scope, count in counts.items():
        latest = count.failures[-1].at if count.failures else 0
        if latest:
            counts[scope] = dataclasses.replace(count, good=count.good + old.good(latest, before, ground.rules))
    return dataclasses.replace(account, state=dataclasses.replace(account.state, counts=counts))


def _old_facts(connection: Connection, before: int) -> int:
    """Facts about nobody, and those that are only notes."""
    nobody = or_(_fact.c.address_id.is_(None), _fact.c.policy_id.is_(None))
    old = select(_fact.c.id).where(_fact.c.at < before, nobody).limit(ROWS)
    numbers = list(connection.scalars(old))
    if numbers:
        connection.execute(delete(schema.unread).where(schema.unread.c.fact_id.in_(numbers)))
        connection.execute(delete(_fact).where(_fact.c.id.in_(numbers)))
    return len(numbers)


def _forget_unread(connection: Connection, which: object, before: int) -> None:
    numbers = select(_fact.c.id).where(which, _fact.c.at < before)  # type: ignore[arg-type]
    connection.execute(delete(schema.unread).where(schema.unread.c.fact_id.in_(numbers)))


def _old_sends(connection: Connection, before: int) -> int:
    numbers = list(connection.scalars(select(_send.c.id).where(_send.c.id < first_id(before)).limit(ROWS)))
    if numbers:
        connection.execute(delete(_sent).where(_sent.c.send_id.in_(numbers)))
        connection.execute(delete(_send).where(_send.c.id.in_(numbers)))
    return len(numbers)


def _old_seen(connection: Connection, before: int) -> int:
    seen = schema.seen
    old = select(seen.c.send_id, seen.c.digest).where(seen.c.at < before).limit(ROWS)
    rows = connection.execute(old).all()
    for send_id, digest in rows:
        connection.execute(delete(seen).where(seen.c.send_id == send_id, seen.c.digest == digest))
    return len(rows)
