"""Simulate: what another policy would have decided from the same facts, and how to have it decide so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from retour_policy.core.fold import Account
from retour_policy.core.suppression import Suppression, strongest
from retour_policy.ledger import history
from retour_policy.ledger.accounts import folded
from retour_policy.ledger.history import History
from retour_policy.ledger.policy_versions import Policy
from retour_policy.maintenance.rebuild import Reached, ignore_progress, recompute, stored
from retour_policy.store import addresses, facts
from retour_policy.store.addresses import Address
from retour_policy.store.batches import in_batches
from retour_policy.store.database import Store

MAX_REJUDGED = 20  # addresses at a time; a short transaction takes several times as many


@dataclass(frozen=True, slots=True)
class Rejudged:
    """One address under another policy."""

    address: Address
    text: str | None
    """None: erased."""
    before: Account
    after: Account
    is_carried: bool
    """Some of its facts were purged. What they came to was carried forward, and cannot be judged anew."""
    is_stale: bool
    """Some of its facts were judged by another policy than that number."""


def rejudge(
    store: Store, judge: Policy, number: int | None = None, reached: Reached = ignore_progress
) -> Iterator[list[Rejudged]]:
    """Every address about which anything is known, as if `judge` had been in force from the first fact on, in chunks.

    `number` is that of the policy in the store, if it has one. Changes nothing.
    """
    for chunk in addresses.iterate_with_account(store):
        numbers = [address.id for address, _ in chunk]
        with store.reading() as connection:
            before = stored(connection, [address for address, _ in chunk])
            told = history.read(connection, numbers)
        yield [_rejudged(one, text, before[one.id], told[one.id], judge, number) for one, text in chunk]
        reached(numbers[-1])


def _rejudged(
    address: Address, text: str | None, before: Account, told: History, judge: Policy, number: int | None
) -> Rejudged:
    after, _ = folded(told, {}, judge)
    is_carried = any(entry.kind == "carried" for entry in told.entries)
    return Rejudged(address, text, before, after, is_carried, any(one != number for one in told.policy_ids.values()))


def apply(store: Store, some: Sequence[Rejudged], number: int) -> None:
    """Have the policy with that number judge all facts of these addresses, as if it had always been in force.

    Each is computed again under its lock, in short transactions.
    """

    def work(connection: Connection, batch: Sequence[Address]) -> int:
        facts.rejudge(connection, [one.id for one in batch], number)
        recompute(connection, batch)
        return len(batch)

    concerned = [one.address for one in some if one.is_stale or one.before != one.after]
    for _ in in_batches(store, concerned, MAX_REJUDGED, work):
        pass


@dataclass(frozen=True, slots=True)
class Change:
    """One address in one stream for which the other policy decides otherwise."""

    address: str | None
    stream: str
    before: Suppression | None
    after: Suppression | None
    what: str
    """paused, suppressed, trying (one message may), freed; where it stays the same, for how long: longer, shorter."""


def changes(one: Rejudged, streams: Mapping[str, bool], now: int) -> Iterator[Change]:
    """What would be different at `now` for an address, in each of the streams (name, and whether transactional).

    Compared is what a client would hear there: the suppression that lasts longest.
    """
    for name, transactional in streams.items():
        before, after = (_in_force(account, name, transactional, now) for account in (one.before, one.after))
        what = _difference(before, after)
        if what:
            yield Change(one.text, name, before, after, what)


def _difference(before: Suppression | None, after: Suppression | None) -> str:
    if before is None and after is None:
        return ""
    if after is None:
        return "freed"
    if before is None or _kind(before) != _kind(after):
        return _kind(after)
    if before.until == after.until:
        return ""
    return "longer" if after.until is None or (before.until is not None and after.until > before.until) else "shorter"


def _kind(one: Suppression) -> str:
    return {"pause": "paused", "trial": "trying"}.get(one.cause, "suppressed")


def _in_force(account: Account, stream: str, transactional: bool, now: int) -> Suppression | None:
    found = account.suppressions.values()
    return strongest((one for one in found if one.applies(stream, transactional=transactional)), now)
