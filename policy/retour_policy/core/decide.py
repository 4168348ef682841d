"""Decide: what a new fact about an address leads to. Pure: no store, no clock, none of the other modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Class = Literal["hard", "soft", "network", "autoreply", "complaint", "unsubscribe"]
EVERYWHERE = "*"
BULK = "*bulk"  # every stream that is not transactional
DAY = 86_400_000  # milliseconds
FAILURES: tuple[Class, ...] = ("hard", "soft", "network")
MAX_FAILURES_KEPT = 64  # of those that count; a threshold cannot be higher
MIN_CONFLICT_DAYS = 3  # distinct ones (UTC), on which a failure came that names somebody else, before one counts
MIN_CONFLICT_SPAN_MS = 10 * DAY  # between the first and the last of them
MAX_CONFLICTS_KEPT = 16  # one a day; the last 16 days span more than what is needed


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The numbers of a policy for one stream. Spans are milliseconds; a threshold of 0 only records."""

    hard: int
    pause: int
    """After a hard failure below the threshold."""
    hard_for: int
    """How long a suppression lasts; 0: for good."""
    soft: int
    soft_span: int
    """Between the first and the last soft failure, at least."""
    soft_for: int
    network: int
    network_span: int
    network_for: int
    longest: int
    """Each suppression lasts twice as long as the one before it, at most this long; 0: they do not grow."""
    trials: int
    """After so many suppressions whose trials failed, a hard one is for good; 0: there is always another trial."""
    spare_for: int
    """So long soft failures and those of the network spare transactional mail, if no good send comes; 0: always."""
    autoreply: int
    autoreply_for: int
    complaint: int
    unsubscribe: int
    heal_sends: int
    """How many good sends after the latest counted failure clear the count; 0: nothing does."""
    heal_after: int
    """A send is good when this time has passed without a failure of it."""
    forget_after: int
    """A counted failure older than this no longer counts; 0: it always counts."""
    heed_blame: bool
    """False: every failure counts by its type, no matter who is to blame."""
    distinct_days: bool
    """One failure per address, class and day (UTC) counts."""
    count_unsigned: bool
    """Reports without any proof count too."""
    scope: str
    """everywhere or stream."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What a fact says that matters for counting."""

    at: int
    """Milliseconds since 1970. Signals come in order, except failures that a storm held and that count after all."""
    class_: Class
    stream: str
    transactional: bool = False
    send: int = 0
    sent_at: int = 0
    shared: bool = False
    """The proof is a token that other recipients have too."""
    conflicting: bool = False
    """The report names somebody else than the recipient whom its token stands for."""
    first: bool = True
    """Nothing of its kind counted before for this send and address: one send counts once."""
    good: tuple[int, ...] = ()
    """When the latest good sends were made, the latest first; `heal_sends` of them are enough, or one."""
    everything: bool = False
    """An unsubscription from all that is not transactional, not from its stream alone."""
    decided: int = 0
    """When it was decided that it counts, if a storm held it until then: what follows begins then."""


@dataclass(frozen=True, slots=True)
class CountedFailure:
    """A failure that counts."""

    class_: Class
    at: int
    send: int
    ends: int = 0
    """When the pause that it caused ends."""


@dataclass(frozen=True, slots=True)
class Count:
    """What was counted about one address in one scope."""

    failures: tuple[CountedFailure, ...] = ()
    totals: Mapping[str, int] = field(default_factory=dict)
    """How often each class was counted since the last healing."""
    suppressed: int = 0
    """How many suppressions there were since the last healing: each lasts twice as long as the one before."""
    ends: Mapping[str, int] = field(default_factory=dict)
    """When the latest of them ends, by its scope: what was sent there before that is not another try."""
    last: int = 0
    """When the latest failure was counted, also if good sends or time have cleared it since."""
    good: int = 0
    """Good sends since the latest counted failure whose records are purged."""
    good_at: int = 0
    """When the latest good send between the failures was made, if its record is purged."""
    unconfirmed: CountedFailure | None = None
    """A failure with shared proof only. It counts when the failure of another send joins it."""
    claims: tuple[CountedFailure, ...] = ()
    """Complaints and the like with shared proof only, one per class. It counts when another send's joins it."""
    conflicts: tuple[CountedFailure, ...] = ()
    """Failures whose reports name somebody else, the first of each day, with no good send between."""

    def latest(self) -> int:
        """When the latest failure that counts or waits was recorded; 0 if there is none."""
        return max([self.last, *self._times()])

    def heals_from(self) -> int | None:
        """From when on good sends matter for what is counted or waits here; None if they do not."""
        times = [*self._times(), *(one.at for one in self.conflicts)]
        return min([*times, *filter(None, [self.latest()])], default=None)

    def _times(self) -> list[int]:
        """When each failure that counts or waits was recorded."""
        waiting = (self.unconfirmed,) if self.unconfirmed else ()
        return [one.at for one in (*self.failures, *waiting)]


@dataclass(frozen=True, slots=True)
class State:
    """The result of the facts about one address, by scope (everywhere, or a stream)."""

    counts: Mapping[str, Count] = field(default_factory=dict)
    last: int = 0
    """When the latest fact was recorded."""
    held: tuple[tuple[int, int], ...] = ()
    """Failures that a storm holds: fact and storm."""


@dataclass(frozen=True, slots=True)
class Suppress:
    """Do not send to this address in this scope."""

    scope: str
    cause: str
    """A class, or "pause"."""
    since: int
    until: int | None
    tries: bool
    """When it has run out, one send may try."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The new state, what to do, and an explanation."""

    state: State
    suppress: tuple[Suppress, ...]
    why: str


def decide(state: State, signal: Signal, rules: RuleSet) -> Decision:
    """Count `signal`, and pause or suppress the address where the rules say so."""
    scope = signal.stream if rules.scope == "stream" else EVERYWHERE
    before = state.counts.get(scope, Count())
    count, suppress, why = _step(_healed(before, signal, rules), signal, rules)
    counts = {**state.counts, scope: before if count is None else count}
    kept = {name: one for name, one in counts.items() if one != Count()}
    return Decision(replace(state, counts=kept, last=max(state.last, signal.at)), suppress, why)


Step = tuple[Count | None, tuple[Suppress, ...], str]
"""The count after a signal, or None if the signal changes nothing; what follows; why."""


def _step(count: Count, signal: Signal, rules: RuleSet) -> Step:
    if not signal.first:
        return None, (), "this send is counted already"
    if signal.class_ not in FAILURES:
        return _claimed(count, signal, rules)
    if signal.conflicting:
        return _conflicting(count, signal, rules)
    waiting = count.unconfirmed
    if waiting and signal.send and waiting.send == signal.send:  # a worse failure of the same send
        count = replace(count, unconfirmed=None)
    if signal.shared and count.unconfirmed is None and not count.failures:
        count = replace(count, unconfirmed=CountedFailure(signal.class_, signal.at, signal.send))
        return count, (), "shared proof: counts when another send fails too"
    return _confirmed(count, signal, rules)


def _confirmed(count: Count, signal: Signal, rules: RuleSet) -> Step:
    """Any of the recipients can forge a report with a shared token: it counts once another send has failed too."""
    if count.unconfirmed is None:
        return _counted(count, signal, rules)
    return _both(replace(count, unconfirmed=None), count.unconfirmed, signal, rules)


def _conflicting(count: Count, signal: Signal, rules: RuleSet) -> Step:
    """The report names somebody else: who forwards all their mail to a dead address, or somebody who gets a copy of it.

    Forwarded mail fails again and again, and nothing arrives: then it counts. A copy may fail once or twice.
    """
    first = min((one.at for one in count.conflicts), default=0)
    old = () if any(made > first for made in signal.good) else count.conflicts
    kept = [one for one in old if not rules.forget_after or signal.at - one.at <= rules.forget_after]
    if all(one.at // DAY != signal.at // DAY for one in kept):
        kept.append(CountedFailure(signal.class_, signal.at, signal.send))
    count = replace(count, conflicts=tuple(kept[-MAX_CONFLICTS_KEPT:]))
    if len(kept) < MIN_CONFLICT_DAYS or kept[-1].at - kept[0].at < MIN_CONFLICT_SPAN_MS:
        needed = f"{MIN_CONFLICT_DAYS} days over {MIN_CONFLICT_SPAN_MS // DAY}"
        return count, (), f"names somebody else: counts when that comes on {needed}; {len(kept)} so far"
    counted, suppress, why = _confirmed(count, signal, rules)
    return counted or count, suppress, f"{why}, though it names somebody else: on {len(kept)} days nothing arrived"


def _claimed(count: Count, signal: Signal, rules: RuleSet) -> Step:
    """The same for complaints and unsubscriptions, so that no recipient can unsubscribe another."""
    waiting = next((one for one in count.claims if one.class_ == signal.class_), None)
    if waiting is not None:
        others = tuple(one for one in count.claims if one != waiting)
        return _both(replace(count, claims=others), waiting, signal, rules)
    was_said_before = signal.class_ != "unsubscribe" and count.totals.get(signal.class_)  # that was of some stream
    if not signal.shared or was_said_before:
        return _counted(count, signal, rules)
    claims = (*count.claims, CountedFailure(signal.class_, signal.at, signal.send))
    return replace(count, claims=claims), (), "shared proof: counts when another send is answered so too"


def _both(count: Count, waiting: CountedFailure, signal: Signal, rules: RuleSet) -> Step:
    earlier = replace(signal, class_=waiting.class_, at=waiting.at, send=waiting.send, sent_at=waiting.at)
    first, before, _ = _counted(count, earlier, rules)
    second, suppress, why = _counted(first or count, signal, rules)
    return second or first, (*before, *suppress), f"{why}, with an earlier {waiting.class_} one of shared proof"


def _healed(count: Count, signal: Signal, rules: RuleSet) -> Count:
    return healed(count, signal.good, signal.at, rules) if signal.class_ in FAILURES else count


def healed(count: Count, good: Sequence[int], at: int, rules: RuleSet) -> Count:
    """The count at `at` without what good sends have cleared, and without what is too old.

    `good` says when the latest good sends were made, the latest first. `heal_sends` of them made after the latest
    failure clear all failures; one clears the failures of the network that are older than it.
    """
    latest = count.latest()
    number = count.good + sum(made > latest for made in good) if latest else 0
    if rules.heal_sends and number >= rules.heal_sends:
        totals = {name: n for name, n in count.totals.items() if name not in FAILURES}
        return Count(totals=totals, claims=count.claims, conflicts=count.conflicts)
    worked = max((count.good_at, *good)) if rules.heal_sends else 0
    worked = at if rules.heal_sends and count.good else worked
    if count.unconfirmed and _outdated(count.unconfirmed, at, worked, rules):
        count = replace(count, unconfirmed=None)
    kept = [one for one in count.failures if not _outdated(one, at, worked, rules)]
    if len(kept) == len(count.failures):
        return count
    totals = dict(count.totals) | {name: sum(one.class_ == name for one in kept) for name in FAILURES}
    return replace(count, failures=tuple(kept), totals={name: n for name, n in totals.items() if n})


def _outdated(one: CountedFailure, at: int, worked: int, rules: RuleSet) -> bool:
    """Too old, or of a network that worked later."""
    return bool(rules.forget_after and at - one.at > rules.forget_after) or (
        one.class_ == "network" and one.at < worked
    )


def _counted(count: Count, signal: Signal, rules: RuleSet) -> Step:
    name = signal.class_
    refused = _not_counted(count, signal, rules)
    if refused:
        return None, (), refused
    count = _add(_without_send(count, signal), CountedFailure(name, signal.at, signal.send))
    threshold, reached = getattr(rules, name), count.totals[name]
    if not threshold:
        return count, (), f"{name} {reached}, recorded only"
    words = f"{name} {reached} of {threshold}"
    span = _span(count, name)
    if reached < threshold or span < _least_span(name, rules):
        return _below(count, signal, rules, words, span)
    return _suppressed(count, signal, rules, words)


def _without_send(count: Count, signal: Signal) -> Count:
    """The count without a milder failure of the same send: of several, the worst counts."""
    same = [one for one in count.failures if signal.send and one.send == signal.send]
    if not same or signal.class_ not in FAILURES:
        return count
    totals = dict(count.totals)
    for one in same:
        totals[one.class_] = totals.get(one.class_, 0) - 1
    kept = tuple(one for one in count.failures if one not in same)
    return replace(count, failures=kept, totals={name: n for name, n in totals.items() if n > 0})


def _not_counted(count: Count, signal: Signal, rules: RuleSet) -> str:
    """Why a failure is recorded and not counted, if so."""
    same = [one for one in count.failures if one.class_ == signal.class_]
    is_failure = signal.class_ in FAILURES
    if is_failure and signal.send and any(_is_as_bad(one, signal) for one in count.failures):
        return "this send is counted already"  # by a report that named somebody else
    # without this it would make the next suppression longer
    stopped = max((count.ends.get(scope, 0) for scope in _applying(signal)), default=0)
    if rules.longest and is_failure and signal.sent_at < stopped:
        return f"{signal.class_}: sent before the suppression was over"
    if rules.distinct_days and any(one.at // DAY == signal.at // DAY for one in same):
        return f"{signal.class_}: one is counted already today"
    if signal.class_ == "hard" and rules.pause and any(_in_one_pause(one, signal, rules) for one in same):
        return "hard: sent before the pause was over"
    return ""


def _is_as_bad(one: CountedFailure, signal: Signal) -> bool:
    """Whether a failure is of the same send, and no milder."""
    return one.send == signal.send and (one.class_ == "hard" or signal.class_ != "hard")


def _applying(signal: Signal) -> tuple[str, ...]:
    """The scopes whose suppressions stop mail of the signal's stream."""
    return (EVERYWHERE, signal.stream) if signal.transactional else (EVERYWHERE, BULK, signal.stream)


def _in_one_pause(one: CountedFailure, signal: Signal, rules: RuleSet) -> bool:
    """Whether two hard failures are one; the signal is the older one if a storm held it."""
    return signal.sent_at < one.ends if one.at <= signal.at else one.at < signal.at + rules.pause


def _below(count: Count, signal: Signal, rules: RuleSet, words: str, span: int) -> Step:
    """Not enough to suppress; a hard failure pauses."""
    if signal.class_ != "hard" or not rules.pause:
        days = f" over {span // DAY} days" if signal.class_ in ("soft", "network") and rules.distinct_days else ""
        return count, (), words + days
    until = signal.at + rules.pause
    last = replace(count.failures[-1], ends=until)
    count = replace(count, failures=(*count.failures[:-1], last))
    if rules.scope == "stream" and signal.transactional:
        return count, (), f"{words}, transactional: not paused"
    return count, (Suppress(_bulk(signal, rules), "pause", signal.at, until, tries=False),), f"{words}: paused"


def _suppressed(count: Count, signal: Signal, rules: RuleSet, words: str) -> Step:
    base = _base(count, signal.class_, rules)
    lasts = min(base << min(count.suppressed, 20), max(base, rules.longest)) if rules.longest else base
    since = max(signal.at, signal.decided)
    until = since + lasts if base else None
    scopes = _scopes(count, signal, rules)
    if not scopes:
        return count, (), f"{words}, transactional: not suppressed"
    if scopes == (BULK,) and signal.transactional and signal.sent_at < count.ends.get(BULK, 0):
        return count, (), f"{words}: suppressed already, not for transactional mail"  # and that one grows no longer
    suppress = tuple(Suppress(scope, signal.class_, since, until, tries=base > 0) for scope in scopes)
    if signal.class_ in FAILURES:
        ends = dict.fromkeys(scopes, until) if until else {}
        count = replace(count, suppressed=count.suppressed + 1, ends={**count.ends, **ends})
    span = f"for {lasts // DAY} days" if base else "for good"
    return count, suppress, f"{words}: suppressed {span}"


def _add(count: Count, one: CountedFailure) -> Count:
    # A total stops at a million: more changes no decision, and a loop of reports cannot make it grow without limit.
    total = min(count.totals.get(one.class_, 0) + 1, 1_000_000)
    totals = {**count.totals, one.class_: total}
    if one.class_ not in FAILURES:
        return replace(count, totals=totals)
    return replace(
        count, failures=_kept((*count.failures, one)), totals=totals, last=max(count.last, one.at), good=0, good_at=0
    )


def _kept(failures: tuple[CountedFailure, ...]) -> tuple[CountedFailure, ...]:
    """At most so many, without the oldest that is not the first of its class: the first one tells the span."""
    while len(failures) > MAX_FAILURES_KEPT:
        classes = [one.class_ for one in failures]
        drop = next(n for n, name in enumerate(classes) if name in classes[:n])
        failures = failures[:drop] + failures[drop + 1 :]
    return failures


def _span(count: Count, name: Class) -> int:
    same = [one.at for one in count.failures if one.class_ == name]
    return max(same) - min(same) if same else 0


def _least_span(name: Class, rules: RuleSet) -> int:
    return {"soft": rules.soft_span, "network": rules.network_span}.get(name, 0)


def _base(count: Count, name: Class, rules: RuleSet) -> int:
    """How long the first suppression lasts, of which later ones are multiples; 0: this one is for good."""
    if name == "hard" and rules.trials and count.suppressed >= rules.trials:
        return 0
    return _lasts(name, rules)


def _lasts(name: Class, rules: RuleSet) -> int:
    spans = {"hard": rules.hard_for, "soft": rules.soft_for, "network": rules.network_for}
    return spans.get(name, rules.autoreply_for if name == "autoreply" else 0)


def _bulk(signal: Signal, rules: RuleSet) -> str:
    """The scope for suppressions that do not hold in transactional streams."""
    return signal.stream if rules.scope == "stream" else BULK


def _scopes(count: Count, signal: Signal, rules: RuleSet) -> tuple[str, ...]:
    """Where a suppression holds: hard everywhere, an unsubscription in its stream, others not for transactional mail.

    Where nothing has arrived for long (`spare_for`), everywhere after all. Nobody can unsubscribe from transactional
    mail.

    Where each stream counts by itself: in that stream, and of a transactional one for the same causes only. In
    "plain" counting, which ignores who is to blame, every failure suppresses everywhere.
    """
    spared = signal.class_ in ("soft", "network", "autoreply") and rules.heed_blame
    if spared and signal.class_ != "autoreply" and rules.spare_for and rules.heal_sends:
        spared = _span(count, signal.class_) < rules.spare_for
    if signal.class_ == "unsubscribe":
        stream = () if signal.transactional else (signal.stream,)
        return (BULK,) if signal.everything else stream
    if rules.scope == "stream":
        return () if spared and signal.transactional else (signal.stream,)
    if signal.class_ == "complaint":
        return (BULK, signal.stream) if signal.transactional else (BULK,)
    return (BULK,) if spared else (EVERYWHERE,)
