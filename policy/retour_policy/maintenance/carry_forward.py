"""Carry forward: what the old facts of an address have come to, and how far back they must be kept. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from retour_policy.core.decide import MAX_FAILURES_KEPT, Count
from retour_policy.core.fold import Account, Entry, fold
from retour_policy.ledger.history import History
from retour_policy.ledger.policy_versions import Policy


def cut_of(entries: Sequence[Entry], before: int) -> int:
    """From when on facts are kept: `before`, or the oldest fact that one which is kept speaks of.

    A fact speaks of another where it holds, undoes or revives it, or is about the same send.
    """
    while True:
        kept = [entry for entry in entries if entry.at >= before]
        named = {number for entry in kept for number in entry.detail.get("facts", ())}
        sends = {entry.send for entry in kept if entry.send}
        spoken_of = [e.at for e in entries if e.at < before and (e.id in named or e.send in sends)]
        if not spoken_of:
            return before
        before = min(spoken_of)


def carried_account(
    old: Sequence[Entry], told: History, policies: Mapping[int, Policy], cut: int, spent: frozenset[int]
) -> Account:
    """The account that the facts before `cut` lead to, with the good ones noted among the sends that go with them."""
    stream_policies = {entry.id: policies[told.policy_ids[entry.id]].for_stream(entry.stream) for entry in old}
    account, _ = fold(old, stream_policies, told.send_times)
    good = [made for send, made in told.send_times.made if send in spent and send not in told.send_times.failed]
    counts = {scope: _noted(count, good) for scope, count in account.state.counts.items()}
    return dataclasses.replace(account, state=dataclasses.replace(account.state, counts=counts))


def speaks_from(account: Account) -> int | None:
    """From when on the good sends of an address must go together with the facts that they were noted beside.

    An older one, made before the latest failure, is counted never again, and one more than `MAX_FAILURES_KEPT` changes
    nothing: these can go later. None: all can.
    """
    open_ = [one for one in account.state.counts.values() if one.good < MAX_FAILURES_KEPT]
    return min((one.latest() + 1 for one in open_ if one.latest() or one.suppressed), default=None)


def _noted(count: Count, good: Sequence[int]) -> Count:
    latest = count.latest()
    number = sum(made > latest for made in good) if latest else 0
    return dataclasses.replace(count, good=min(count.good + number, MAX_FAILURES_KEPT))
