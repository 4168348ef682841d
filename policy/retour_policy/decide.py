"""Decide: what a new fact about an address leads to. Pure: no store, no clock, none of the other modules."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

Class = Literal["hard", "soft", "autoreply"]
CLASSES: tuple[Class, ...] = ("hard", "soft", "autoreply")


class Rules(Protocol):
    """The numbers of a policy that are needed here. A threshold of 0 never suppresses."""

    @property
    def hard(self) -> int: ...
    @property
    def soft(self) -> int: ...
    @property
    def autoreply(self) -> int: ...
    @property
    def suppress_for(self) -> int:
        """Milliseconds; 0 is for good."""


@dataclass(frozen=True, slots=True)
class Happening:
    """What a fact says that matters for counting."""

    at: int
    """Milliseconds since 1970."""
    class_: Class
    send: int
    shared: bool
    """The proof is one that other recipients hold too."""
    first: bool
    """The first of its class for this send and address: one send counts once."""


@dataclass(frozen=True, slots=True)
class State:
    """What the facts about one address in one scope have come to."""

    hard: int = 0
    soft: int = 0
    autoreply: int = 0
    unconfirmed: int | None = None
    """A send whose failure has shared proof only. It counts when the failure of another send joins it."""
    unconfirmed_class: Class | None = None

    def to_dict(self) -> dict[str, Any]:
        """The values that differ from those of a new address."""
        return {name: value for name, value in asdict(self).items() if value}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> State:
        """The state that `to_dict` wrote; what this version does not know is left out."""
        return cls(**{name: value for name, value in values.items() if name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Suppress:
    """Do not send to this address any more."""

    cause: Class
    since: int
    until: int | None
    count: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The new state, what to do, and in words why."""

    state: State
    suppress: Suppress | None
    why: str


def decide(state: State, happening: Happening, rules: Rules) -> Decision:
    """Count `happening`, and suppress the address where the count of its class has come to the threshold."""
    if not happening.first:
        return Decision(state, None, "this send is counted already")
    if happening.class_ == "autoreply":
        return _suppress(_add(state, "autoreply"), happening, ("autoreply",), rules)
    return _failure(state, happening, rules)


def _failure(state: State, happening: Happening, rules: Rules) -> Decision:
    """Anybody among the recipients could have written a shared report: it counts once another send has failed too."""
    alone = state.unconfirmed is None and not state.hard + state.soft
    if happening.shared and alone:
        waiting = replace(state, unconfirmed=happening.send, unconfirmed_class=happening.class_)
        return Decision(waiting, None, "shared proof: counts when another send fails too")
    earlier = state.unconfirmed_class
    counted = _add(replace(state, unconfirmed=None, unconfirmed_class=None), happening.class_)
    if earlier is None:
        return _suppress(counted, happening, (happening.class_,), rules)
    return _suppress(_add(counted, earlier), happening, (happening.class_, earlier), rules)


def _suppress(state: State, happening: Happening, classes: tuple[Class, ...], rules: Rules) -> Decision:
    """Suppress for the first of `classes` whose count, just raised, has come to its threshold."""
    for name in classes:
        count, threshold = getattr(state, name), getattr(rules, name)
        if threshold and count >= threshold:
            until = happening.at + rules.suppress_for if rules.suppress_for else None
            new = Suppress(name, happening.at, until, count)
            return Decision(state, new, f"{name} {count} of {threshold}: suppressed")
    count, threshold = getattr(state, classes[0]), getattr(rules, classes[0])
    return Decision(state, None, f"{classes[0]} {count}" + (f" of {threshold}" if threshold else ", recorded only"))


def _add(state: State, name: Class) -> State:
    # A counter stops at a million: it decides nothing more, and a loop of reports cannot make it grow for ever.
    return replace(state, **{name: min(getattr(state, name) + 1, 1_000_000)})
