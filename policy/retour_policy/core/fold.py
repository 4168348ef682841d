"""Fold: the state of an address and its suppressions, from its facts in order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from retour_policy.core.decide import (
    EVERYWHERE,
    MAX_FAILURES_KEPT,
    Class,
    Count,
    RuleSet,
    Signal,
    State,
    Suppress,
    decide,
)
from retour_policy.core.proof import CONFLICTING, COPIED, claim_of
from retour_policy.core.state_json import from_dict, to_dict
from retour_policy.core.suppression import Suppression


@dataclass(frozen=True, slots=True)
class Account:
    """What is known about one address: what was counted, and where it is suppressed, by scope."""

    state: State = field(default_factory=State)
    suppressions: Mapping[str, Suppression] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact about an address, as the fold sees it."""

    id: int
    at: int
    kind: str
    stream: str = ""
    send: int = 0
    sent_at: int = 0
    type: str | None = None
    blame: str | None = None
    proof: str = ""
    first: bool = True
    """The first of its matter for this send and address that counts."""
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> str | None:
        """As the report gives it; of a complaint its Feedback-Type."""
        return self.detail.get("reason")


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """What a fact is judged by: the rules of its stream, and which streams are transactional."""

    rules: RuleSet
    transactional: bool = False


@dataclass(frozen=True, slots=True)
class StepResult:
    """The account after a fact, and an explanation of what the fact led to."""

    account: Account
    why: str


@dataclass(frozen=True, slots=True)
class GoodSends:
    """Sends to an address that were good, as far as its next fact needs to know."""

    since_failure: int = 0
    """After the latest counted failure; at most `heal_sends` are looked for."""
    since_conflict: bool = False
    """Whether there was one after the first failure that waits because its report names somebody else."""


def step(account: Account, entry: Entry, stream_policy: StreamPolicy, good_sends: GoodSends) -> StepResult:
    """The account after one more fact."""
    special = _SPECIAL.get(entry.kind)
    if special:
        return special(account, entry, stream_policy)
    if entry.detail.get("storm"):
        return _held(account, entry, [entry.id])
    signal = signal_of(entry, stream_policy, good_sends)
    if signal is None:
        return StepResult(_seen(account, entry.at), "")
    decision = decide(account.state, signal, stream_policy.rules)
    suppressions = dict(account.suppressions)
    for new in decision.suppress:
        suppressions[new.scope] = _stronger(suppressions.get(new.scope), new, entry)
    return StepResult(Account(decision.state, suppressions), decision.why)


def signal_of(entry: Entry, stream_policy: StreamPolicy, good_sends: GoodSends) -> Signal | None:
    """What a fact means for counting; None if it does not count."""
    class_ = class_of(entry, stream_policy.rules)
    if class_ is None or not counts(entry, stream_policy.rules):
        return None
    return Signal(
        at=entry.at,
        class_=class_,
        stream=entry.stream,
        transactional=stream_policy.transactional,
        send=entry.send,
        sent_at=entry.sent_at,
        shared=entry.proof == "shared",
        conflicting=entry.proof == CONFLICTING,
        first=entry.first,
        good_sends=good_sends.since_failure,
        good_since_conflict=good_sends.since_conflict,
        fact=entry.id,
    )


class Judged(Protocol):
    """What of a fact says whether, and as what, it counts: of an `Entry`, and of what the store has."""

    @property
    def kind(self) -> str:
        """Of the report."""

    @property
    def type(self) -> str | None:
        """hard or soft, of a bounce."""

    @property
    def reason(self) -> str | None:
        """Of a complaint its Feedback-Type."""

    @property
    def blame(self) -> str | None:
        """Of a bounce."""

    @property
    def proof(self) -> str | None:
        """How sure it is whom it is about."""


def class_of(fact: Judged, rules: RuleSet) -> Class | None:
    """The class in which a fact counts against an address; None if it does not count."""
    if fact.kind != "bounce":
        return claim_of(fact.kind, fact.reason)
    by_type: Class = "hard" if fact.type == "hard" else "soft"
    if not rules.heed_blame or fact.blame == "recipient":
        return by_type
    return "network" if fact.blame == "network" else None


def latest_failure(account: Account, stream: str, rules: RuleSet) -> int:
    """When the latest failure was counted in the scope in which those of `stream` count; 0 if there is none."""
    count = _count(account, stream, rules)
    return count.latest() if count else 0


def first_conflict(account: Account, stream: str, rules: RuleSet) -> int:
    """When the first failure came that waits because its report names somebody else; 0 if there is none."""
    count = _count(account, stream, rules)
    return count.conflicts[0].at if count and count.conflicts else 0


def for_one(rules: RuleSet) -> RuleSet:
    """The same rules, by which one good send is looked for, also where none clears the count."""
    return replace(rules, heal_sends=1)


def _count(account: Account, stream: str, rules: RuleSet) -> Count | None:
    return account.state.counts.get(stream if rules.scope == "stream" else EVERYWHERE)


@dataclass(frozen=True, slots=True)
class SendTimes:
    """The sends to one address: when each was made, and when it first failed."""

    made: Sequence[tuple[int, int]]
    """Send id and time, in order."""
    failed: Mapping[int, int]

    def good(self, after: int, at: int, rules: RuleSet) -> int:
        """How many sends made after `after` were good at `at`; at most `heal_sends` are looked for."""
        good = 0
        for send, made in self.made:
            if good == rules.heal_sends or made > at - rules.heal_after:
                break
            good += made > after and not self.failed.get(send, at + 1) <= at
        return good


def fold(
    entries: Iterable[Entry], stream_policies: Mapping[int, StreamPolicy], send_times: SendTimes
) -> tuple[Account, list[StepResult]]:
    """The account that all facts of an address, in order, lead to, and what each of them did.

    `stream_policies` is by fact id. What a storm holds or an operator undid is passed over; what counts after all is
    counted where that was decided.
    """
    history = list(_with_first(entries, stream_policies))
    skipped = passed_over(history)
    undone = {number for entry in history if entry.kind == "undone" for number in entry.detail["facts"]}
    by_id = {entry.id: entry for entry in history if entry.id not in undone}
    account, steps = Account(), []
    for entry in history:
        stream_policy = stream_policies[entry.id]
        if entry.id in skipped:
            result = StepResult(_seen(account, entry.at), "undone" if entry.id in undone else "held: a storm")
        else:
            result = _with_revived(account, entry, stream_policy, send_times, by_id)
        account = result.account
        steps.append(result)
    return account, steps


def counts(fact: Judged, rules: RuleSet) -> bool:
    """Whether such a fact counts against an address; only one fact per send and matter counts."""
    if fact.proof == COPIED:
        return False
    return class_of(fact, rules) is not None and (fact.proof != "unsigned" or rules.count_unsigned)


def uses_up(earlier: Judged, proof: str | None) -> bool:
    """Whether a fact that counts leaves nothing to count for a later one of the same send and matter.

    A report that names somebody else leaves the send to one that names the recipient.
    """
    return earlier.proof != CONFLICTING or proof == CONFLICTING


def matter_of(fact: Judged) -> str:
    """What a fact is about: of a send, only one that counts does so in each matter, however a report calls it."""
    return claim_of(fact.kind, fact.reason) or fact.kind


def _with_first(entries: Iterable[Entry], stream_policies: Mapping[int, StreamPolicy]) -> Iterator[Entry]:
    """The facts, each marked whether it is the first of its matter for its send that counts."""
    counted: dict[tuple[int, str], list[Entry]] = {}
    for entry in entries:
        before = counted.setdefault((entry.send, matter_of(entry)), [])
        if any(uses_up(one, entry.proof) for one in before):
            yield replace(entry, first=False)
            continue
        yield entry
        if entry.send and counts(entry, stream_policies[entry.id].rules):
            before.append(entry)


def passed_over(history: Iterable[Entry]) -> set[int]:
    """The facts that a storm holds or that an operator undid."""
    return {number for entry in history if entry.kind in ("held", "undone") for number in entry.detail["facts"]}


def _with_revived(
    account: Account, entry: Entry, stream_policy: StreamPolicy, send_times: SendTimes, by_id: Mapping[int, Entry]
) -> StepResult:
    if entry.kind == "held":
        return _held(account, entry, entry.detail["facts"])
    if entry.kind == "undone":
        return StepResult(_without_held(_seen(account, entry.at), entry.detail["facts"]), _taken_back(entry))
    if entry.kind != "revived":
        return step(account, entry, stream_policy, _good_sends(account, entry, stream_policy.rules, send_times))
    why = ""
    account = _without_held(account, entry.detail["facts"])
    for number in entry.detail["facts"]:
        if number in by_id:
            freed = replace(by_id[number], detail={**by_id[number].detail, "storm": None})
            result = step(account, freed, stream_policy, GoodSends())
            account, why = result.account, result.why
    return StepResult(_seen(account, entry.at), f"held before, counts now: {why}")


def _good_sends(account: Account, entry: Entry, rules: RuleSet, send_times: SendTimes) -> GoodSends:
    since_failure = send_times.good(latest_failure(account, entry.stream, rules), entry.at, rules)
    after = first_conflict(account, entry.stream, rules) if entry.proof == CONFLICTING else 0
    return GoodSends(since_failure, bool(after and send_times.good(after, entry.at, for_one(rules))))


def _taken_back(entry: Entry) -> str:
    count = len(entry.detail["facts"])
    return f"{count} failure{'' if count == 1 else 's'} taken back"


def _seen(account: Account, at: int) -> Account:
    return replace(account, state=replace(account.state, last=max(account.state.last, at)))


def _held(account: Account, entry: Entry, facts: Sequence[int]) -> StepResult:
    """Failures held by a storm: kept, not counted. A failure that a second storm holds belongs to that one."""
    seen = _seen(_without_held(account, facts), entry.at)
    held = (*seen.state.held, *((number, entry.detail["storm"]) for number in facts))[-MAX_FAILURES_KEPT:]
    return StepResult(replace(seen, state=replace(seen.state, held=held)), "held: a storm")


def _without_held(account: Account, facts: Sequence[int]) -> Account:
    kept = tuple(one for one in account.state.held if one[0] not in facts)
    return replace(account, state=replace(account.state, held=kept))


def _stronger(old: Suppression | None, new: Suppress, entry: Entry) -> Suppression:
    """The suppression in force keeps its dates and cause, unless the new one replaces it."""
    if old is not None and old.in_force(new.since) and not _gives_way(old, new):
        return old
    because = " ".join(str(entry.detail[name]) for name in ("status", "reason") if entry.detail.get(name))
    return Suppression(new.scope, new.cause, new.since, new.until, because, tries=new.tries, fact=entry.id)


def _gives_way(old: Suppression, new: Suppress) -> bool:
    """A trial always does; a pause, unless the new one is a shorter pause; others, if the new one lasts longer."""
    if old.cause == "trial":
        return True
    longer = old.until is not None and (new.until is None or new.until > old.until)
    if old.cause == "pause":
        return longer or new.cause != "pause"
    return longer and (new.until is None or old.cause == "operator")


def _operator_suppresses(account: Account, entry: Entry, _: StreamPolicy) -> StepResult:
    detail = entry.detail
    new = Suppression(
        detail["scope"],
        detail.get("cause", "operator"),
        detail.get("since", entry.at),
        detail.get("until"),
        detail.get("note", ""),
        fact=entry.id,
    )
    return StepResult(
        _seen(replace(account, suppressions={**account.suppressions, new.scope: new}), entry.at), "suppressed"
    )


def _operator_lifts(account: Account, entry: Entry, _: StreamPolicy) -> StepResult:
    """Lifting clears the counts too."""
    scopes = set(entry.detail["scopes"])
    kept = {scope: one for scope, one in account.suppressions.items() if scope not in scopes}
    counts = {scope: count for scope, count in account.state.counts.items() if not _lifted(scope, scopes)}
    return StepResult(
        _seen(Account(replace(account.state, counts=counts), kept), entry.at), "lifted; counts start again at zero"
    )


def _lifted(scope: str, scopes: set[str]) -> bool:
    return scope in scopes or (scope == EVERYWHERE and any(one.startswith("*") for one in scopes))


def _trial(account: Account, entry: Entry, stream_policy: StreamPolicy) -> StepResult:
    """A suppression has run out: one send is the trial, and others wait until `heal_after` has passed."""
    tried = {
        scope: replace(one, cause="trial", until=entry.at + stream_policy.rules.heal_after, tries=False)
        for scope, one in account.suppressions.items()
        if scope in entry.detail["scopes"]
    }
    return StepResult(
        _seen(replace(account, suppressions={**account.suppressions, **tried}), entry.at), "one send tries"
    )


def _carried(account: Account, entry: Entry, _: StreamPolicy) -> StepResult:
    """The result of older facts, carried forward when they were purged."""
    suppressions = {one["scope"]: Suppression(**one) for one in entry.detail["suppressions"]}
    state = replace(from_dict(entry.detail["state"]), last=entry.at)
    return StepResult(Account(state, suppressions), "carried forward from facts that were purged")


def carry(account: Account) -> dict[str, Any]:
    """The detail of a `carried` fact."""
    return {
        "state": to_dict(account.state),
        "suppressions": [one.to_dict() for one in account.suppressions.values()],
    }


_SPECIAL = {
    "suppress": _operator_suppresses,
    "lift": _operator_lifts,
    "trial": _trial,
    "carried": _carried,
}
