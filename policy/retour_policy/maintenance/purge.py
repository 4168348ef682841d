"""Purge: deletes old facts and sends, after it has carried their result forward."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection

from retour_policy.clock import DAY
from retour_policy.core.fold import carry
from retour_policy.ledger import history
from retour_policy.ledger.accounts import lock_all, refolded_of, write_all
from retour_policy.ledger.history import History
from retour_policy.ledger.policy_versions import Policy, all_policies
from retour_policy.maintenance.carry_forward import carried_account, cut_of, speaks_from
from retour_policy.store import facts, retention, sqlite
from retour_policy.store.addresses import Address
from retour_policy.store.batches import in_batches
from retour_policy.store.database import Store
from retour_policy.store.facts import NewFact
from retour_policy.store.retention import TableSweep
from retour_policy.store.subscriptions import RENEWED_AFTER_MS
from retour_policy.tokens.subscription import LIFETIME_DAYS
from retour_policy.tokens.token import first_id, id_time

MIN_KEEP_MS = 90 * DAY  # younger facts are never purged: bounces may still come, and storms be settled
SUBSCRIPTION_MS = LIFETIME_DAYS * DAY + RENEWED_AFTER_MS  # for which a subscription is kept beyond other rows
MAX_GROUP_ADDRESSES = 10  # that are carried forward together
MAX_GROUP_ROWS = 2_000  # about the addresses that are carried forward together


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """Facts from before `before` are deleted, and sends made `heal_after` earlier: later ones may still be good.

    Milliseconds.
    """

    before: int
    heal_after: int
    """The longest `heal_after` of any policy that was ever in force."""

    def first_send(self, cut: int | None = None) -> int:
        """The lowest id of a send that is kept if facts from `cut` on are kept."""
        return first_id((self.before if cut is None else cut) - self.heal_after)


def purge(store: Store, before: int) -> Iterator[int]:
    """Delete facts and sends older than `before`, in short transactions; yields how many rows each deleted.

    For every address one `carried` fact first holds its state. Can be stopped and run again at any time.
    """
    with store.reading() as connection:
        known = all_policies(connection).values()
    rules = [one.rules for policy in known for one in (policy.default, *policy.streams.values())]
    bounds = Bounds(before, max((one.heal_after for one in rules), default=0))
    yield from _carry_all(store, bounds)
    for sweep in _sweeps(bounds):
        yield from sweep.run(store)
    yield from retention.unknown_addresses().run(store)
    yield from _shrink(store)


def _shrink(store: Store) -> Iterator[int]:
    """Give the room of what was deleted back to the file system, a little at a time."""
    released = 1
    while released:
        with store.writing() as connection:
            released = sqlite.release_pages(connection)
        yield 0


def _carry_all(store: Store, bounds: Bounds) -> Iterator[int]:
    """Carry forward every address that has old facts, or good sends to add to what was carried before."""

    def work(connection: Connection, groups: Sequence[Sequence[Address]]) -> int:
        return sum(_carry(connection, group, bounds, all_policies(connection)) for group in groups)

    for found in retention.iterate_addresses_to_carry(store, bounds.before, bounds.first_send()):
        for _, deleted in in_batches(store, _groups(found), 1, work):
            yield deleted


def _groups(found: Sequence[tuple[Address, int]]) -> Iterator[list[Address]]:
    """A few addresses at a time, limited by their rows; one always fits."""
    group, room = list[Address](), MAX_GROUP_ROWS
    for address, rows in found:
        room -= rows
        if group and (room < 0 or len(group) == MAX_GROUP_ADDRESSES):
            yield group
            group, room = [], MAX_GROUP_ROWS - rows
        group.append(address)
    if group:
        yield group


def _sweeps(bounds: Bounds) -> list[TableSweep]:
    """Delete what remains once all is carried forward: recipients' parts in sends, then the sends."""
    first_send = bounds.first_send()
    return [
        retention.facts_without_account(bounds.before),
        retention.send_recipients(bounds.before, first_send),
        retention.recipients_apart(first_send),
        retention.sends_without_recipients(first_send),
        retention.storm_counters(bounds.before),
        retention.seen_messages(bounds.before),
        retention.unsubscribe_counters(bounds.before),
        retention.old_subscriptions(bounds.before - SUBSCRIPTION_MS),
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class _Past:
    """What to delete of an address, and the fact that replaces it."""

    facts: Sequence[int]
    sends: Sequence[int]
    """Facts that would count again in addition to the carried one; a sweep deletes the others, a few at a time."""
    left: Sequence[tuple[int, int]]
    """The sends that are kept for now."""
    carried: NewFact | None
    """None if nothing follows from the facts."""


def _carry(connection: Connection, some: Sequence[Address], bounds: Bounds, policies: Mapping[int, Policy]) -> int:
    """Replace the old facts of each address by one; how many rows were deleted."""
    there = retention.keep_addresses(connection, [one.id for one in some])
    some = [one for one in some if one.id in there]  # another purge at the same time may have deleted the others
    if not some:
        return 0
    was = lock_all(connection, some)
    told = history.read(connection, [one.id for one in some])
    past = {number: one for number, of in told.items() if (one := _past(number, of, bounds, policies))}
    if not past:
        return 0
    retention.delete_facts(connection, [number for one in past.values() for number in one.facts])
    retention.delete_send_recipients(connection, [(send, to) for to, one in past.items() for send in one.sends])
    facts.write_without_ids(connection, [one.carried for one in past.values() if one.carried])
    now = refolded_of(connection, list(past), policies, sends={to: one.left for to, one in past.items()})
    write_all(connection, [(one, was[one.id], now[one.id][0]) for one in some if one.id in past])
    return sum(len(one.facts) + len(one.sends) for one in past.values())


def _past(number: int, told: History, bounds: Bounds, policies: Mapping[int, Policy]) -> _Past | None:
    good = told.send_times.latest_good(bounds.before, bounds.heal_after)
    cut = cut_of(told.entries, bounds.before, good)
    old = [entry for entry in told.entries if entry.at < cut]
    if not old:
        return None
    stays = bounds.first_send(cut)
    late = {entry.send for entry in told.entries if entry.at >= cut}
    spent = [send for send, _ in told.send_times.made if send < stays and send not in late]
    failed = {entry.send for entry in old}  # without their facts these would look good
    spent += [send for send in failed if send >= stays]
    account = carried_account(old, told, policies, cut, frozenset(spent))
    speaks = speaks_from(account)
    spent = [send for send in spent if send in failed or (speaks is not None and id_time(send) >= speaks)]
    gone = frozenset(spent)
    left = [made for made in told.send_times.made if made[0] not in gone]
    if not (account.state.counts or account.suppressions):
        return _Past([entry.id for entry in old], spent, left, None)
    policy_id = told.policy_ids[old[-1].id]
    carried = NewFact(cut - 1, "carried", number, policy_id=policy_id, detail=carry(account))
    return _Past([entry.id for entry in old], spent, left, carried)
