"""State as JSON: the form in which the store keeps the state of an address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retour_policy.core.decide import EVERYWHERE, Count, CountedFailure, State


def to_dict(state: State) -> dict[str, Any]:
    """The state as a JSON object."""
    counts = {scope: _count_to_dict(count) for scope, count in state.counts.items()}
    return {"last": state.last, "counts": counts} | ({"held": [list(one) for one in state.held]} if state.held else {})


def from_dict(values: Mapping[str, Any]) -> State:
    """The state that `to_dict` wrote; an empty one for an empty mapping."""
    counts = {scope: _count_from_dict(count) for scope, count in values.get("counts", {}).items()}
    return State(counts, values.get("last", 0), tuple((fact, storm) for fact, storm in values.get("held", ())))


def _count_to_dict(count: Count) -> dict[str, Any]:
    values = {
        "failures": [[one.class_, one.at, one.send, one.ends] for one in count.failures],
        "totals": dict(sorted(count.totals.items())),
        "suppressed": count.suppressed,
        "ends": dict(sorted(count.ends.items())),
        "last": 0 if count.last == _last(count.failures) else count.last,
        "good": count.good,
        "good_at": count.good_at,
        "unconfirmed": [count.unconfirmed.class_, count.unconfirmed.at, count.unconfirmed.send]
        if count.unconfirmed
        else None,
        "claims": [[one.class_, one.at, one.send] for one in count.claims],
        "conflicts": [[one.class_, one.at, one.send] for one in count.conflicts],
    }
    return {name: value for name, value in values.items() if value}


def _count_from_dict(values: Mapping[str, Any]) -> Count:
    waiting = values.get("unconfirmed")
    failures = tuple(CountedFailure(*one) for one in values.get("failures", ()))
    return Count(
        failures=failures,
        totals=values.get("totals", {}),
        suppressed=values.get("suppressed", 0),
        ends=_ends(values.get("ends", {})),
        last=values.get("last", _last(failures)),
        good=values.get("good", 0),
        good_at=values.get("good_at", 0),
        unconfirmed=CountedFailure(*waiting) if waiting else None,
        claims=tuple(CountedFailure(*one) for one in values.get("claims", ())),
        conflicts=tuple(CountedFailure(*one) for one in values.get("conflicts", ())),
    )


def _ends(value: Mapping[str, int] | int) -> Mapping[str, int]:
    """A number is of a state from before scopes were told apart."""
    return {EVERYWHERE: value} if isinstance(value, int) else value


def _last(failures: Sequence[CountedFailure]) -> int:
    return max((one.at for one in failures), default=0)
