"""Purge: forgets what is old, after it has written down what that had come to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, exists, or_, select, tuple_

from retour_policy import facts, history, schema
from retour_policy.carrying import carried_account, cut_of
from retour_policy.clock import DAY
from retour_policy.facts import NewFact
from retour_policy.fold import carry
from retour_policy.ledger import Address, first_id, lock, refolded
from retour_policy.ledger import store as put
from retour_policy.policies import Policy, all_policies
from retour_policy.store import Store

SHORTEST = 90 * DAY  # what is younger is never purged: bounces of it may still come, and storms be settled
ADDRESSES = 15  # a transaction
ROWS = 500  # a transaction
_fact, _sent, _send, _seen = schema.fact, schema.send_recipient, schema.send, schema.seen
_counter = schema.storm_counter
_NOBODYS = or_(_fact.c.address_id.is_(None), _fact.c.policy_id.is_(None))


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """Facts from before `before` go, and sends made `heal_after` earlier: until then it is open whether they were good.

    Milliseconds.
    """

    before: int
    heal_after: int
    """The longest of any policy that was ever in force."""

    def sends(self, cut: int | None = None) -> int:
        """The lowest id of a send that stays where facts from `cut` on stay."""
        return first_id((self.before if cut is None else cut) - self.heal_after)


def purge(store: Store, before: int) -> Iterator[int]:
    """Forget facts and sends older than `before`, in short transactions; yields how many rows each took away.

    For every address one `carried` fact first holds its state. Can be stopped and run again at any time.
    """
    with store.reading() as connection:
        known = all_policies(connection).values()
    rules = [ground.rules for policy in known for ground in (policy.default, *policy.streams.values())]
    bounds = Bounds(before, max((one.heal_after for one in rules), default=0))
    yield from _addresses(store, bounds)
    for walk in _walks(bounds):
        yield from walk.run(store)


def _addresses(store: Store, bounds: Bounds) -> Iterator[int]:
    """Carry over every address that has old facts, or good sends to note beside what was carried before."""
    last = 0
    while True:
        with store.reading() as connection:
            numbers = list(connection.scalars(_to_carry(bounds, last)))
        if not numbers:
            return
        with store.writing() as connection:
            policies = all_policies(connection)
            went = sum(_carry(connection, number, bounds, policies) for number in numbers)
        last = numbers[-1]
        yield went


def _walks(bounds: Bounds) -> list[_Walk]:
    old_sends = and_(_send.c.id < bounds.sends(), ~exists().where(_sent.c.send_id == _send.c.id))
    return [
        _Walk(_fact, (_fact.c.at, _fact.c.id), and_(_fact.c.at < bounds.before, _NOBODYS), _forget_facts),
        _Walk(_sent, (_sent.c.send_id, _sent.c.address_id), _is_spent(bounds)),
        _Walk(_send, (_send.c.id,), old_sends),
        _Walk(_counter, tuple(_counter.primary_key), _counter.c.bucket < bounds.before),
        _Walk(_seen, (_seen.c.send_id, _seen.c.digest), _seen.c.at < bounds.before),
    ]


def _to_carry(bounds: Bounds, last: int) -> Any:
    number = schema.address.c.id
    own = and_(_fact.c.address_id == number, _fact.c.at < bounds.before, _fact.c.policy_id.is_not(None))
    fresh = exists().where(own, _fact.c.kind != "carried")
    sent = exists().where(_sent.c.address_id == number, _sent.c.send_id < bounds.sends())
    wanted = or_(fresh, and_(sent, exists().where(own)))
    return select(number).where(number > last, wanted).order_by(number).limit(ADDRESSES)


def _carry(connection: Connection, number: int, bounds: Bounds, policies: Mapping[int, Policy]) -> int:
    """Replace the old facts of an address by one; how many rows went."""
    key = connection.scalar(select(schema.address.c.key).where(schema.address.c.id == number))
    address = Address(number, bytes(key or b""))
    was = lock(connection, address)
    told = history.told(connection, number)
    cut = cut_of(told.entries, bounds.before)
    old = [entry for entry in told.entries if entry.at < cut]
    if not old:
        return 0
    stays = bounds.sends(cut)
    late = {entry.send for entry in told.entries if entry.at >= cut}
    spent = [send for send, _ in told.sendings.made if send < stays and send not in late]
    spent += [entry.send for entry in old if entry.send >= stays]  # failed: they must not look good from now on
    account = carried_account(old, told, policies, cut, frozenset(spent))
    went = _forget(connection, number, cut, spent)
    policy_id = told.policy_ids[old[-1].id]
    facts.write(connection, NewFact(cut - 1, "carried", number, policy_id=policy_id, detail=carry(account)))
    put(connection, address, was, refolded(connection, address, policies)[0])
    return went


def _forget(connection: Connection, number: int, cut: int, spent: list[int]) -> int:
    """Remove an address's facts from before `cut`, and its part in the spent sends."""
    old = and_(_fact.c.address_id == number, _fact.c.at < cut)
    connection.execute(delete(schema.unread).where(schema.unread.c.fact_id.in_(select(_fact.c.id).where(old))))
    went = connection.execute(delete(_fact).where(old)).rowcount
    if spent:
        one = delete(_sent).where(_sent.c.address_id == number, _sent.c.send_id == bindparam("send"))
        connection.execute(one, [{"send": send} for send in spent])
    return went


def _is_spent(bounds: Bounds) -> Any:
    """A recipient's part in an old send, where no fact is kept that needs to know of it."""
    known = exists().where(_fact.c.address_id == _sent.c.address_id, _fact.c.policy_id.is_not(None))
    about_it = known.where(_fact.c.send_id == _sent.c.send_id)
    kept_back = known.where(_fact.c.at < bounds.before, _fact.c.kind != "carried")
    return and_(_sent.c.send_id < bounds.sends(), ~about_it, ~kept_back)


def _forget_facts(connection: Connection, keys: list[Any]) -> None:
    numbers = [number for _, number in keys]
    connection.execute(delete(schema.unread).where(schema.unread.c.fact_id.in_(numbers)))
    connection.execute(delete(_fact).where(_fact.c.id.in_(numbers)))


@dataclasses.dataclass(frozen=True)
class _Walk:
    """Goes once through a table in the order of an index, and removes what is wanted, a few rows a transaction."""

    table: Any
    order: tuple[Any, ...]
    wanted: Any
    remove: Callable[[Connection, list[Any]], None] | None = None
    """None: rows of the table itself, by their order."""

    def run(self, store: Store) -> Iterator[int]:
        last: Any = None
        while True:
            query = select(*self.order).where(self.wanted).order_by(*self.order).limit(ROWS)
            if last is not None:
                query = query.where(tuple_(*self.order) > tuple_(*last))
            with store.reading() as connection:
                keys = [tuple(row) for row in connection.execute(query)]
            if not keys:
                return
            with store.writing() as connection:
                (self.remove or self._rows)(connection, keys)
            last = keys[-1]
            yield len(keys)

    def _rows(self, connection: Connection, keys: list[Any]) -> None:
        names = [f"key{number}" for number in range(len(self.order))]
        here = and_(*(column == bindparam(name) for column, name in zip(self.order, names, strict=True)))
        connection.execute(delete(self.table).where(here), [dict(zip(names, key, strict=True)) for key in keys])
