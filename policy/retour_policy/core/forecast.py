"""Forecast: what would happen to an address at its next bounce. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retour_policy.clock import day_text, is_ahead
from retour_policy.core.decide import FAILURES, Class
from retour_policy.core.fold import Account, Entry, StepResult, StreamPolicy, step
from retour_policy.core.suppression import Suppression

_NAMES = {"hard": "a hard one", "soft": "a soft one", "network": "one of the network"}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the next bounce of each class, of a send made now, would lead to."""

    outcomes: tuple[tuple[Class, str], ...]
    tries: bool = False
    """That send would be a trial: a suppression has run out."""

    def words(self) -> str:
        """In one line: "a hard one pauses until 2026-01-31; a soft one is counted"."""
        trial = ["the next message tries whether it works again"] if self.tries else []
        return "; ".join([*trial, *(f"{_NAMES[name]} {does}" for name, does in self.outcomes)])


@dataclass(frozen=True, slots=True)
class NextSend:
    """A send that would be made now."""

    stream: str
    stream_policy: StreamPolicy
    now: int
    good: tuple[int, ...] = ()
    """When the latest good sends were made: see `SendTimes.good`."""
    instead: Mapping[Class, str] = field(default_factory=dict)
    """What happens to a bounce of these classes that is not counted by itself, because of storms."""


def classes_that_count(stream_policy: StreamPolicy) -> list[Class]:
    """The classes of failures that can suppress anybody in such a stream."""
    rules = stream_policy.rules
    return [name for name in FAILURES if getattr(rules, name) and (name != "network" or rules.heed_blame)]


def failure_now(account: Account, send: NextSend, name: Class) -> Entry:
    """The report that would come if that send failed at once."""
    last = account.state.last
    at = send.now if is_ahead(last, send.now) else max(send.now, last)
    blame = "network" if name == "network" else "recipient"
    type_ = "soft" if name == "soft" else "hard"
    return Entry(0, at, "bounce", send.stream, -1, at, type=type_, blame=blame, proof="signed")


def forecast(account: Account, send: NextSend) -> Forecast:
    """What would follow if a send made now failed at once."""
    run_out = [one.scope for one in run_out_for(account, send)]
    if run_out:
        trial = Entry(0, send.now, "trial", send.stream, detail={"scopes": run_out})
        account = step(account, trial, send.stream_policy, ()).account
    names = classes_that_count(send.stream_policy)
    outcomes = ((name, send.instead.get(name) or _outcome(account, send, name)) for name in names)
    return Forecast(tuple(outcomes), tries=bool(run_out))


def run_out_for(account: Account, send: NextSend) -> list[Suppression]:
    """The suppressions of that stream that have run out, so that its next message tries."""
    some = [one for one in account.suppressions.values() if one.tries and one.has_run_out(send.now)]
    return [one for one in some if one.applies(send.stream, transactional=send.stream_policy.transactional)]


def _outcome(account: Account, send: NextSend, name: Class) -> str:
    after = step(account, failure_now(account, send, name), send.stream_policy, send.good)
    changed = [one for scope, one in after.account.suppressions.items() if one != account.suppressions.get(scope)]
    return _does(after, changed)


def none_before(found: Sequence[Suppression]) -> str:
    """The same where a suppression lets nothing be sent: "nothing is sent before 2026-01-31, then one tries"."""
    holding = [one for one in found if one.cause != "trial"]
    if any(one.until is None for one in holding):
        return "nothing is sent any more"
    last = max(holding or found, key=lambda one: one.until or 0)
    until = day_text(last.until or 0)
    if not holding:
        return f"one message tries already; nothing else is sent before {until}"
    return f"nothing is sent before {until}{', then one message tries' if last.tries else ''}"


def _does(after: StepResult, changed: Sequence[Suppression]) -> str:
    if not changed:
        return f"is counted ({after.why})" if " of " in after.why else f"changes nothing ({after.why})"
    one = max(changed, key=lambda one: (one.until is None, one.until or 0))
    until = f"until {day_text(one.until)}" if one.until else "for good"
    return f"pauses {until}" if one.cause == "pause" else f"suppresses {until}"
