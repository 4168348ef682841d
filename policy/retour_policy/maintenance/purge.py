"""Purge: forgets what is old, after it has written down what that had come to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, exists, func, insert, or_, select, tuple_

from retour_policy.clock import DAY
from retour_policy.core.fold import carry
from retour_policy.ledger import history
from retour_policy.ledger.accounts import lock_all, refolded_of, write_all
from retour_policy.ledger.history import History
from retour_policy.ledger.policy_versions import Policy, all_policies
from retour_policy.maintenance.carry_forward import carried_account, cut_of, speaks_from
from retour_policy.store import facts, schema
from retour_policy.store.addresses import Address
from retour_policy.store.batches import in_portions
from retour_policy.store.database import Store
from retour_policy.store.facts import NewFact
from retour_policy.tokens.token import first_id, id_time

SHORTEST = 90 * DAY  # what is younger is never purged: bounces of it may still come, and storms be settled
LOOKED_AT = 1_000  # addresses in one reading
ADDRESSES = 10  # carried over together
ROWS = 2_000  # in one reading, and about the addresses that are carried over together
FEW = 50  # rows removed together
_fact, _sent, _send, _seen = schema.fact, schema.send_recipient, schema.send, schema.seen
_counter = schema.storm_counter
_THESE = select(schema.address.c.id).where(schema.address.c.id.in_(bindparam("numbers", expanding=True)))
_FREE = _THESE.with_for_update(skip_locked=True)
_KEPT = _THESE.with_for_update(read=True, key_share=True)
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
    yield from _TableSweep(schema.address, (schema.address.c.id,), _nothing_known(), _forget_addresses).run(store)


def _addresses(store: Store, bounds: Bounds) -> Iterator[int]:
    """Carry over every address that has old facts, or good sends to note beside what was carried before."""

    def work(connection: Connection, groups: Sequence[Sequence[Address]]) -> int:
        return sum(_carry(connection, some, bounds, all_policies(connection)) for some in groups)

    for found in _to_carry(store, bounds):
        for _, went in in_portions(store, _groups(found), 1, work):
            yield went


def _groups(found: Sequence[tuple[Address, int]]) -> Iterator[list[Address]]:
    """A few addresses each, that have not too many rows; one always fits."""
    group, room = list[Address](), ROWS
    for address, rows in found:
        room -= rows
        if group and (room < 0 or len(group) == ADDRESSES):
            yield group
            group, room = [], ROWS - rows
        group.append(address)
    if group:
        yield group


def _walks(bounds: Bounds) -> list[_TableSweep]:
    old_sends = and_(_send.c.id < bounds.sends(), ~exists().where(_sent.c.send_id == _send.c.id))
    return [
        _TableSweep(_fact, (_fact.c.at, _fact.c.id), and_(_fact.c.at < bounds.before, _NOBODYS), _forget_facts),
        _TableSweep(_sent, (_sent.c.send_id, _sent.c.address_id), _is_spent(bounds)),
        _TableSweep(_send, (_send.c.id,), old_sends),
        _TableSweep(_counter, tuple(_counter.primary_key), _counter.c.bucket < bounds.before),
        _TableSweep(_seen, (_seen.c.at, _seen.c.send_id, _seen.c.digest), _seen.c.at < bounds.before),
    ]


def _to_carry(store: Store, bounds: Bounds) -> Iterator[list[tuple[Address, int]]]:
    """The addresses, looked through a few at a time, and how many rows there are about each."""
    number = schema.address.c.id
    own = and_(_fact.c.address_id == number, _fact.c.at < bounds.before, _fact.c.policy_id.is_not(None))
    fresh = exists().where(own, _fact.c.kind != "carried")
    sent = exists().where(_sent.c.address_id == number, _sent.c.send_id < bounds.sends())
    wanted = or_(fresh, and_(sent, exists().where(own)))
    last = 0
    while True:
        with store.reading() as connection:
            ids = select(number).where(number > last).order_by(number).limit(LOOKED_AT).subquery()
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


@dataclasses.dataclass(frozen=True, slots=True)
class _Past:
    """What of an address is to go, and the fact that takes its place."""

    facts: Sequence[int]
    sends: Sequence[int]
    """Those that would count once more beside what is carried; a walk takes the others, a few at a time."""
    left: Sequence[tuple[int, int]]
    """The sends that stay for now."""
    carried: NewFact | None
    """None where the facts have come to nothing."""


def _carry(connection: Connection, some: Sequence[Address], bounds: Bounds, policies: Mapping[int, Policy]) -> int:
    """Replace the old facts of each address by one; how many rows went."""
    there = set(connection.scalars(_KEPT, {"numbers": [one.id for one in some]}))
    some = [one for one in some if one.id in there]  # another purge at the same time may have forgotten the others
    if not some:
        return 0
    was = lock_all(connection, some)
    told = history.read(connection, [one.id for one in some])
    past = {number: one for number, of in told.items() if (one := _past(number, of, bounds, policies))}
    if not past:
        return 0
    _forget(connection, past)
    carried = [facts.row_of(one.carried) for one in past.values() if one.carried]
    if carried:
        connection.execute(insert(_fact), carried)
    now = refolded_of(connection, list(past), policies, sends={to: one.left for to, one in past.items()})
    write_all(connection, [(one, was[one.id], now[one.id][0]) for one in some if one.id in past])
    return sum(len(one.facts) + len(one.sends) for one in past.values())


def _past(number: int, told: History, bounds: Bounds, policies: Mapping[int, Policy]) -> _Past | None:
    cut = cut_of(told.entries, bounds.before)
    old = [entry for entry in told.entries if entry.at < cut]
    if not old:
        return None
    stays = bounds.sends(cut)
    late = {entry.send for entry in told.entries if entry.at >= cut}
    spent = [send for send, _ in told.send_times.made if send < stays and send not in late]
    failed = {entry.send for entry in old}  # these must not look good from now on
    spent += [send for send in failed if send >= stays]
    account = carried_account(old, told, policies, cut, frozenset(spent))
    speaks = speaks_from(account)
    spent = [send for send in spent if send in failed or (speaks is not None and id_time(send) >= speaks)]
    gone = frozenset(spent)
    left = [made for made in told.send_times.made if made[0] not in gone]
    if not (account.state.counts or account.state.held or account.suppressions):
        return _Past([entry.id for entry in old], spent, left, None)
    policy_id = told.policy_ids[old[-1].id]
    carried = NewFact(cut - 1, "carried", number, policy_id=policy_id, detail=carry(account))
    return _Past([entry.id for entry in old], spent, left, carried)


def _forget(connection: Connection, past: Mapping[int, _Past]) -> None:
    """Remove facts of some addresses, and their parts in the spent sends."""
    _forget_facts(connection, [(0, number) for one in past.values() for number in one.facts])
    parts = [{"to": number, "send": send} for number, one in past.items() for send in one.sends]
    if parts:
        here = and_(_sent.c.send_id == bindparam("send"), _sent.c.address_id == bindparam("to"))
        connection.execute(delete(_sent).where(here), parts)


def _is_spent(bounds: Bounds) -> Any:
    """A recipient's part in an old send, where no fact is kept that needs to know of it."""
    known = exists().where(_fact.c.address_id == _sent.c.address_id, _fact.c.policy_id.is_not(None))
    about_it = known.where(_fact.c.send_id == _sent.c.send_id)
    kept_back = known.where(_fact.c.at < bounds.before, _fact.c.kind != "carried")
    return and_(_sent.c.send_id < bounds.sends(), ~about_it, ~kept_back)


def _nothing_known() -> ColumnElement[bool]:
    """An address to which nothing was sent for long, and that nothing is known of. Who was erased stays so."""
    number = schema.address.c.id
    tables = (_fact, _sent, schema.suppression)
    return and_(schema.address.c.text.is_not(None), *(~exists().where(one.c.address_id == number) for one in tables))


def _forget_addresses(connection: Connection, keys: Sequence[Any]) -> None:
    """Those of which nothing has become known meanwhile, and nothing is being written by another host."""
    locked = connection.scalars(_FREE, {"numbers": [number for (number,) in keys]}).all()
    here = select(schema.address.c.id).where(schema.address.c.id.in_(locked), _nothing_known())
    numbers = connection.scalars(here).all()  # a statement of its own sees what was written until these were locked
    for table, column in ((schema.address_state, "address_id"), (schema.address, "id")):
        connection.execute(delete(table).where(table.c[column].in_(numbers)))


def _forget_facts(connection: Connection, keys: Sequence[Any]) -> None:
    """By keys that end with the fact's number."""
    numbers = [{"number": key[-1]} for key in keys]
    connection.execute(delete(schema.unread).where(schema.unread.c.fact_id == bindparam("number")), numbers)
    connection.execute(delete(_fact).where(_fact.c.id == bindparam("number")), numbers)


@dataclasses.dataclass(frozen=True)
class _TableSweep:
    """Goes once through a table in the order of an index, and removes what is wanted, a few rows a transaction."""

    table: Any
    order: tuple[Any, ...]
    wanted: Any
    remove: Callable[[Connection, Sequence[Any]], None] | None = None
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
            for _, went in in_portions(store, keys, FEW, self._some):
                yield went
            last = keys[-1]

    def _some(self, connection: Connection, keys: Sequence[Any]) -> int:
        (self.remove or self._rows)(connection, keys)
        return len(keys)

    def _rows(self, connection: Connection, keys: Sequence[Any]) -> None:
        names = [f"key{number}" for number in range(len(self.order))]
        here = and_(*(column == bindparam(name) for column, name in zip(self.order, names, strict=True)))
        connection.execute(delete(self.table).where(here), [dict(zip(names, key, strict=True)) for key in keys])
