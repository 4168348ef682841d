"""Turns: several ways to do the same work, measured one after the other, again and again, and compared by ratios.

Other work on the machine slows one turn and not the next. So the order changes from round to round, the median of the
rounds counts, and besides the wall's time the processor's time of all processes that took part is compared.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What one item took; milliseconds."""

    wall: float
    processor: float
    """Of all processes that took part."""
    own: float = 0.0
    """Of the process that is measured, be it Retour's or the one that it is compared with."""


@dataclass(frozen=True)
class Way:
    """One way to do the work."""

    work: Callable[[int], None]
    """Do so many items."""
    groups: Sequence[Callable[[], Sequence[int]]]
    """The processes that take part; the last ones are those that are measured."""


Measured = Mapping[str, Sequence[Cost]]


def measure(ways: Mapping[str, Way], items: int, rounds: int) -> Measured:
    """Each way's costs, round by round, after a first round that warms up and is dropped."""
    found: dict[str, list[Cost]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds + 1):
        for name in names if turn % 2 else reversed(names):
            cost = _cost(ways[name], items)
            if turn:
                found[name].append(cost)
    return found


def ratio(one: Sequence[Cost], two: Sequence[Cost], name: str = "wall") -> float:
    """How many times the rate of `two` the rate of `one` is: the median of the rounds."""
    return statistics.median(getattr(b, name) / getattr(a, name) for a, b in zip(one, two, strict=True))


def typical(costs: Sequence[Cost], name: str) -> float:
    """The median of the rounds."""
    return statistics.median(getattr(one, name) for one in costs)


def processor_s(pids: Sequence[int]) -> float:
    """The processor time of some processes so far, and of their children that have ended; seconds."""
    total = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / TICKS


def session(leader: int) -> list[int]:
    """The processes of a session, which a child of the lab leads."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == leader:
                found.append(int(stat.parent.name))
    return found


def _cost(way: Way, items: int) -> Cost:
    def spent() -> list[float]:
        return [processor_s(group()) for group in way.groups]

    before, began = spent(), time.perf_counter()
    way.work(items)
    wall = time.perf_counter() - began
    taken = [two - one for one, two in zip(before, spent(), strict=True)]
    return Cost(*(1000 * value / items for value in (wall, sum(taken), taken[-1])))
