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
    """The proof is a token that other recipients hold too."""
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
    if happening.shared and happening.class_ != "autoreply":
        return _shared(state, happening, rules)
    return _count(state, happening, 1, rules)


def _shared(state: State, happening: Happening, rules: Rules) -> Decision:
    """Anybody among the recipients could have written this report, so only two of different sends count."""
    if state.unconfirmed in (None, happening.send):
        waiting = replace(state, unconfirmed=happening.send, unconfirmed_class=happening.class_)
        return Decision(waiting, None, "shared proof: counts when another send fails too")
    earlier = state.unconfirmed_class or happening.class_
    confirmed = replace(state, unconfirmed=None, unconfirmed_class=None)
    if earlier == happening.class_:
        return _count(confirmed, happening, 2, rules)
    confirmed = _add(confirmed, earlier, 1)
    return _count(confirmed, happening, 1, rules)


def _count(state: State, happening: Happening, by: int, rules: Rules) -> Decision:
    name = happening.class_
    counted = _add(state, name, by)
    count, threshold = getattr(counted, name), getattr(rules, name)
    if not threshold:
        return Decision(counted, None, f"{name} {count}, recorded only")
    if count < threshold:
        return Decision(counted, None, f"{name} {count} of {threshold}")
    until = happening.at + rules.suppress_for if rules.suppress_for else None
    return Decision(counted, Suppress(name, happening.at, until, count), f"{name} {count} of {threshold}: suppressed")


def _add(state: State, name: Class, by: int) -> State:
    # A counter stops at a million: it decides nothing more, and a loop of reports cannot make it grow for ever.
    return replace(state, **{name: min(getattr(state, name) + by, 1_000_000)})
