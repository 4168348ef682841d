"""Carry forward: the result of an address's old facts, and how far back they must be kept. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from retour_policy.clock import DAY
from retour_policy.core.decide import MAX_FAILURES_KEPT, Count
from retour_policy.core.fold import Account, Entry, fold
from retour_policy.ledger.history import History
from retour_policy.ledger.policy_versions import Policy

MAX_HELD_AGE_MS = 1_100 * DAY  # beyond what is kept: three yearly mailings


def cut_of(entries: Sequence[Entry], before: int, good: int = 0) -> int:
    """From when on facts are kept: `before`, or earlier, if a kept fact refers to an older one, or a storm holds one.

    A fact refers to another if it holds, undoes or revives it, or is about the same send. What a storm holds may
    count one day, unless a good send, made at `good`, came after it.
    """
    oldest = max(good, before - MAX_HELD_AGE_MS)
    held = _held(entries)
    before = min([before, *(one.at for one in entries if one.id in held and one.at >= oldest)])
    while True:
        kept = [entry for entry in entries if entry.at >= before]
        named = {number for entry in kept for number in entry.detail.get("facts", ())}
        sends = {entry.send for entry in kept if entry.send}
        referred_to = [e.at for e in entries if e.at < before and (e.id in named or e.send in sends)]
        if not referred_to:
            return before
        before = min(referred_to)


def _held(entries: Sequence[Entry]) -> set[int]:
    """The facts that a storm holds."""
    held: set[int] = set()
    for entry in entries:
        if entry.kind == "held":
            held.update(entry.detail["facts"])
        elif entry.kind in ("revived", "undone"):
            held.difference_update(entry.detail["facts"])
        elif entry.detail.get("storm"):
            held.add(entry.id)
    return held


def carried_account(
    old: Sequence[Entry], told: History, policies: Mapping[int, Policy], cut: int, spent: frozenset[int]
) -> Account:
    """The account that the facts before `cut` lead to, with the good sends counted that are deleted with them."""
    stream_policies = {entry.id: policies[told.policy_ids[entry.id]].for_stream(entry.stream) for entry in old}
    account, _ = fold(old, stream_policies, told.send_times)
    good = [made for send, made in told.send_times.made if send in spent and send not in told.send_times.failed]
    counts = {scope: _with_good(count, good) for scope, count in account.state.counts.items()}
    counts = {scope: count for scope, count in counts.items() if count != Count()}
    # what was held and is deleted with these facts can count no more
    return dataclasses.replace(account, state=dataclasses.replace(account.state, counts=counts, held=()))


def speaks_from(account: Account) -> int | None:
    """From when on good sends may be deleted only in the transaction that counts them in the carried fact.

    A good send from before that never clears anything, and more than `MAX_FAILURES_KEPT` of them change nothing:
    these can be deleted later. None: all can.
    """
    open_ = [one for one in account.state.counts.values() if one.good < MAX_FAILURES_KEPT]
    return min((since + 1 for one in open_ if (since := one.heals_from()) is not None), default=None)


def _with_good(count: Count, good: Sequence[int]) -> Count:
    latest, since = count.latest(), count.heals_from()
    if since is None:
        return count
    number = sum(made > latest for made in good) if latest else 0
    worked = max((made for made in good if since < made <= latest), default=0)
    conflicts = count.conflicts if not count.conflicts or max(good, default=0) <= count.conflicts[0].at else ()
    return dataclasses.replace(
        count,
        good=min(count.good + number, MAX_FAILURES_KEPT),
        good_at=max(count.good_at, worked),
        conflicts=conflicts,
    )
