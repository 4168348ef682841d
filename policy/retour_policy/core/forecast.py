"""Forecast: what would happen to an address at its next bounce. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retour_policy.clock import day_text, is_ahead
from retour_policy.core.decide import FAILURES, Class, Decision, Signal, decide
from retour_policy.core.fold import Account, StreamPolicy
from retour_policy.core.suppression import Suppression

_NAMES = {"hard": "a hard one", "soft": "a soft one", "network": "one of the network"}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the next bounce of each class, of a send made now, would lead to."""

    decisions: tuple[tuple[Class, Decision], ...]

    def words(self) -> str:
        """In one line: "a hard one pauses until 2026-01-31; a soft one is counted"."""
        return "; ".join(f"{_NAMES[name]} {_does(decision)}" for name, decision in self.decisions)


def forecast(
    account: Account, stream_policy: StreamPolicy, stream: str, now: int, good: tuple[int, ...] = ()
) -> Forecast:
    """What would follow if a send made now failed at once, with the good sends of `SendTimes.good`."""
    rules = stream_policy.rules
    classes = [name for name in FAILURES if getattr(rules, name) and (name != "network" or rules.heed_blame)]
    return Forecast(tuple((name, _next(account, stream_policy, stream, now, name, good)) for name in classes))


def _next(
    account: Account, stream_policy: StreamPolicy, stream: str, now: int, name: Class, good: tuple[int, ...]
) -> Decision:
    last = account.state.last
    at = now if is_ahead(last, now) else max(now, last)
    signal = Signal(at, name, stream, stream_policy.transactional, -1, at, good=good)
    return decide(account.state, signal, stream_policy.rules)


def none_before(found: Sequence[Suppression]) -> str:
    """The same where a suppression lets nothing be sent: "nothing is sent before 2026-01-31, then one tries"."""
    if any(one.until is None for one in found):
        return "nothing is sent any more"
    last = max(found, key=lambda one: one.until or 0)
    tries = ", then one message tries" if last.tries else ""
    return f"nothing is sent before {day_text(last.until or 0)}{tries}"


def _does(decision: Decision) -> str:
    if not decision.suppress:
        return f"is counted ({decision.why})" if " of " in decision.why else f"changes nothing ({decision.why})"
    one = decision.suppress[-1]
    until = f"until {day_text(one.until)}" if one.until else "for good"
    return f"pauses {until}" if one.cause == "pause" else f"suppresses {until}"
