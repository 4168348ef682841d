"""History: the facts and sends of one address, as the fold sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from retour_policy.clock import is_ahead
from retour_policy.core.decide import RuleSet
from retour_policy.core.fold import Account, Entry, heals_from
from retour_policy.core.good_sends import SendTimes
from retour_policy.core.order import in_order
from retour_policy.core.proof import COPIED
from retour_policy.store import facts, sends
from retour_policy.store.facts import NewFact
from retour_policy.tokens.token import id_time


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of one address, in the order (recorded at, id)."""

    entries: list[Entry]
    policy_ids: dict[int, int]
    """By fact: the policy that it was judged by."""
    send_times: SendTimes


def entry(number: int, fact: NewFact, *, first: bool = True) -> Entry:
    """A fact with that number, as the fold sees it."""
    return Entry(
        id=number,
        at=fact.at,
        kind=fact.kind,
        stream=fact.stream or "",
        send=fact.send_id or 0,
        sent_at=_sent_at(fact.send_id, fact.at) if fact.send_id else fact.at,
        type=fact.type,
        blame=fact.blame,
        proof=fact.proof or "",
        first=first,
        detail={"status": fact.status, "reason": fact.reason} | fact.detail,
    )


def read(
    connection: Connection, numbers: Sequence[int], made: Mapping[int, Sequence[tuple[int, int]]] | None = None
) -> dict[int, History]:
    """The histories of some addresses, by their numbers; for all of them in two statements.

    If the sends `made` to them are given (ids and times, in order), they are not read again.
    """
    judged = facts.read_judged(connection, numbers)
    if made is None:
        made = sends.read_times(connection, [number for number, of in judged.items() if of])
    return {number: history_of(of, made.get(number, ())) for number, of in judged.items()}


def _sent_at(send: int, at: int) -> int:
    """When a message was sent that a fact of `at` is about: before that, if the clock was ahead when it was sent."""
    sent = id_time(send)
    return at if is_ahead(sent, at) else sent


def good_sends(
    connection: Connection, number: int, account: Account, stream: str, at: int, rules: RuleSet
) -> tuple[int, ...]:
    """When the latest sends to an address that were good at `at` were made, of those that can clear something.

    By the same meaning as the whole history has; only fewer sends are read.
    """
    since = heals_from(account, stream, rules)
    if since is None:
        return ()
    made = sends.read_unfailed(connection, number, since, at - rules.heal_after, max(rules.heal_sends, 1))
    return SendTimes(made, {}).good(at, rules)


def history_of(judged: Sequence[tuple[int, NewFact]], made: Sequence[tuple[int, int]]) -> History:
    """The history of what counts about an address (ids and facts), and of the sends to it (ids and times), in order."""
    entries = in_order(entry(number, fact) for number, fact in judged)
    failures = {number for number, fact in judged if fact.action == "failed" and fact.proof != COPIED}
    failed: dict[int, tuple[int, int]] = {}
    for one in entries:
        if one.id in failures and one.send:
            failed.setdefault(one.send, (one.at, one.id))
    return History(
        entries=entries,
        policy_ids={number: fact.policy_id for number, fact in judged if fact.policy_id is not None},
        send_times=SendTimes(made, failed),
    )
