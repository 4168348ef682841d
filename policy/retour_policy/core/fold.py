"""Fold: the state of an address and its suppressions, from its facts in order. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from retour_policy.core.decide import (
    BULK,
    EVERYWHERE,
    FAILURES,
    MAX_FAILURES_KEPT,
    Class,
    Count,
    CountedFailure,
    RuleSet,
    Signal,
    State,
    Suppress,
    decide,
    healed,
)
from retour_policy.core.good_sends import SendTimes
from retour_policy.core.proof import CONFLICTING, COPIED, UNSIGNED, claim_of
from retour_policy.core.state_json import from_dict, to_dict
from retour_policy.core.suppression import Suppression
from retour_policy.core.uncounted import uncounted_words


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
    """It counts, and nothing as bad of its matter counted before for this send and address."""
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
    fact: int = 0
    """The fact, where it was one of several that were folded."""


def step(
    account: Account, entry: Entry, stream_policy: StreamPolicy, good: tuple[int, ...], decided: int = 0
) -> StepResult:
    """The account after one more fact. `good`: when the latest good sends were made; see `SendTimes.good`.

    `decided` is when it was decided that the fact counts, if that was later than it was recorded.
    """
    special = _SPECIAL.get(entry.kind)
    if special:
        return special(account, entry, stream_policy)
    if entry.detail.get("storm"):
        return _held(account, entry, [entry.id])
    signal = signal_of(entry, stream_policy, good, decided)
    if signal is None:
        return StepResult(_seen(account, entry.at), uncounted_words(entry))
    decision = decide(account.state, signal, stream_policy.rules)
    suppressions = dict(account.suppressions)
    for new in decision.suppress:
        suppressions[new.scope] = _stronger(suppressions.get(new.scope), new, entry)
    decided_now = StepResult(Account(decision.state, suppressions), decision.why)
    return _with_failed_trial(account, decided_now, entry, signal, stream_policy)


def _with_failed_trial(
    before: Account, result: StepResult, entry: Entry, signal: Signal, stream_policy: StreamPolicy
) -> StepResult:
    """The result of a failure; if it is that of a trial, the suppression is renewed for at least as long as it was."""
    rules = stream_policy.rules
    where = entry.stream if rules.scope == "stream" else EVERYWHERE
    was = before.state.counts.get(where, Count())
    for scope, one in before.suppressions.items():
        lasted = was.ends.get(scope, 0) - one.since
        if lasted <= 0 or not _is_failed_trial(one, signal, stream_policy):
            continue
        begins = max(signal.at, signal.decided)
        until = begins + lasted
        now = result.account.suppressions[scope]
        if now.cause != "trial" and (now.until is None or now.until >= until):
            continue
        new = Suppression(scope, signal.class_, begins, until, _because(entry), tries=True, fact=entry.id)
        result = StepResult(_with_renewed(result.account, where, new, until), f"{result.why}; the trial failed")
    return result


def _is_failed_trial(one: Suppression, signal: Signal, stream_policy: StreamPolicy) -> bool:
    """Whether the signal is a failure of the one send that was to try; one that proves it, and can suppress."""
    if one.cause != "trial" or one.until is None or signal.class_ not in FAILURES:
        return False
    if signal.conflicting or not getattr(stream_policy.rules, signal.class_):
        return False
    tried = one.until - stream_policy.rules.heal_after
    applies = one.applies(signal.stream, transactional=stream_policy.transactional)
    return applies and signal.first and not signal.shared and tried <= signal.sent_at < one.until


def _with_renewed(account: Account, where: str, new: Suppression, until: int) -> Account:
    count = account.state.counts.get(where, Count())
    count = replace(count, suppressed=max(count.suppressed, 1), ends={**count.ends, new.scope: until})
    state = replace(account.state, counts={**account.state.counts, where: count})
    return Account(state, {**account.suppressions, new.scope: new})


def signal_of(entry: Entry, stream_policy: StreamPolicy, good: tuple[int, ...], decided: int = 0) -> Signal | None:
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
        good=good,
        everything=entry.kind == "unsubscribe" and entry.detail.get("scope") == BULK,
        decided=decided,
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


def weight(fact: Judged, rules: RuleSet) -> int:
    """How bad a fact is among those of its matter about one send, of which the worst counts; 0: it does not count."""
    if not counts(fact, rules):
        return 0
    return 2 if class_of(fact, rules) == "hard" else 1


def class_of(fact: Judged, rules: RuleSet) -> Class | None:
    """The class in which a fact counts against an address; None if it does not count."""
    if fact.kind != "bounce":
        return claim_of(fact.kind, fact.reason)
    by_type: Class = "hard" if fact.type == "hard" else "soft"
    if not rules.heed_blame or fact.blame == "recipient":
        return by_type
    return "network" if fact.blame == "network" else None


def heals_from(account: Account, stream: str, rules: RuleSet) -> int | None:
    """From when on good sends can clear something that is counted with the failures of `stream`; None: nothing."""
    count = account.state.counts.get(stream if rules.scope == "stream" else EVERYWHERE)
    return count.heals_from() if count else None


def fold(
    entries: Iterable[Entry], stream_policies: Mapping[int, StreamPolicy], send_times: SendTimes
) -> tuple[Account, list[StepResult]]:
    """The account that all facts of an address, in order, lead to, and what each of them did.

    `stream_policies` is by fact id. What a storm holds or an operator undid is passed over; what counts after all is
    counted where that was decided.
    """
    told = list(entries)
    undone = {number for entry in told if entry.kind == "undone" for number in entry.detail["facts"]}
    cleared = {entry.id for entry in told if is_cleared(entry, stream_policies[entry.id], send_times)}
    history = list(_with_first(told, stream_policies, undone, cleared))
    skipped = passed_over(history)
    by_id = {entry.id: entry for entry in history if entry.id not in undone}
    account, steps = Account(), []
    for entry in history:
        stream_policy = stream_policies[entry.id]
        if entry.id in skipped:
            result = StepResult(_seen(account, entry.at), "undone" if entry.id in undone else "held: a storm")
        elif entry.id in cleared:
            result = StepResult(_seen(account, entry.at), "not counted: good sends came after it")
        else:
            result = _with_revived(account, entry, stream_policy, send_times, by_id)
        account = result.account
        steps.append(StepResult(account, result.why, entry.id))
    return account, steps


def counts(fact: Judged, rules: RuleSet) -> bool:
    """Whether such a fact counts against an address; only one fact per send and matter counts."""
    if fact.proof == COPIED:
        return False
    return class_of(fact, rules) is not None and (fact.proof != UNSIGNED or rules.count_unsigned)


def uses_up(earlier: Judged, proof: str | None) -> bool:
    """Whether a fact that counts leaves nothing to count for a later one of the same send and matter.

    A report that names somebody else leaves the send to one that names the recipient.
    """
    return earlier.proof != CONFLICTING or proof == CONFLICTING


def matter_of(fact: Judged) -> str:
    """What a fact is about: of a send, only one that counts does so in each matter, however a report calls it."""
    return claim_of(fact.kind, fact.reason) or fact.kind


def _with_first(
    entries: Iterable[Entry],
    stream_policies: Mapping[int, StreamPolicy],
    undone: Collection[int],
    cleared: Collection[int],
) -> Iterator[Entry]:
    """The facts, each marked whether it counts, and nothing as bad of its matter counted before for its send.

    What was undone uses nothing up. What good sends had cleared when it was imported leaves alone what was recorded
    before that.
    """
    counted: dict[tuple[int, str], list[tuple[int, Entry]]] = {}
    for entry in entries:
        before = counted.setdefault((entry.send, matter_of(entry)), [])
        own = weight(entry, stream_policies[entry.id].rules)
        known = [(worst, one) for worst, one in before if one.id not in cleared or one.id < entry.id]
        is_spent = any(uses_up(one, entry.proof) and own <= worst for worst, one in known)
        yield replace(entry, first=False) if is_spent else entry
        if entry.send and own and not is_spent and entry.id not in undone:
            before.append((own, entry))


def is_cleared(entry: Entry, stream_policy: StreamPolicy, send_times: SendTimes) -> bool:
    """Whether a failure was imported so late that good sends made after it had cleared it by then.

    Had it been known in time, these sends might never have been made. But they were, and they arrived.
    """
    imported = entry.detail.get("imported", 0)
    if entry.kind != "bounce" or imported <= entry.at:
        return False
    return not _not_healed([entry], stream_policy, send_times.good(imported, stream_policy.rules))


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
    if entry.kind == "revived":
        return _revived(account, entry, stream_policy, send_times, by_id)
    good = send_times.good(entry.at, stream_policy.rules, entry.id) if entry.kind == "bounce" else ()
    return step(account, entry, stream_policy, good)


def _revived(
    account: Account, entry: Entry, stream_policy: StreamPolicy, send_times: SendTimes, by_id: Mapping[int, Entry]
) -> StepResult:
    """Held failures count after all, as of when they were recorded, but for what good sends have cleared since."""
    account = _seen(_without_held(account, entry.detail["facts"]), entry.at)
    send_times = send_times.without(entry.detail.get("but", 0))  # it fails at this moment
    freed = sorted((by_id[n] for n in entry.detail["facts"] if n in by_id), key=lambda one: (one.at, one.id))
    left = _not_healed(freed, stream_policy, send_times.good(entry.at, stream_policy.rules, entry.id))
    why = "good sends have cleared them since"
    for one in left:
        one = replace(one, detail={**one.detail, "storm": None})
        result = step(account, one, stream_policy, send_times.good(one.at, stream_policy.rules, one.id), entry.at)
        account, why = result.account, result.why
    return StepResult(account, f"held before, counts now: {why}" if left else f"held before: {why}")


def _not_healed(freed: Sequence[Entry], stream_policy: StreamPolicy, good: tuple[int, ...]) -> list[Entry]:
    """Those of some failures, in order, that good sends have not cleared since."""
    rules = stream_policy.rules
    signals = [(one, signal_of(one, stream_policy, ())) for one in freed]
    failures = [(one, signal) for one, signal in signals if signal is not None and signal.class_ in FAILURES]
    if not failures:
        return list(freed)
    count = Count(tuple(CountedFailure(signal.class_, signal.at, signal.send) for _, signal in failures))
    left = {one.send for one in healed(count, good, 0, rules).failures}
    return [one for one, signal in failures if signal.send in left]


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
    return Suppression(new.scope, new.cause, new.since, new.until, _because(entry), tries=new.tries, fact=entry.id)


def _because(entry: Entry) -> str:
    return " ".join(str(entry.detail[name]) for name in ("status", "reason") if entry.detail.get(name))


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
    """Lifting clears the counts too, and what storms hold; not where somebody only comes back who had left."""
    scopes = set(entry.detail["scopes"])
    kept = {scope: one for scope, one in account.suppressions.items() if scope not in scopes}
    if entry.detail.get("keeps_counts"):
        return StepResult(_seen(replace(account, suppressions=kept), entry.at), "subscribed again")
    counts = {scope: count for scope, count in account.state.counts.items() if not _lifted(scope, scopes)}
    return StepResult(
        _seen(Account(replace(account.state, counts=counts, held=()), kept), entry.at),
        "lifted; counts start again at zero",
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
