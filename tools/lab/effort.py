"""Effort: processor time in units of this machine's speed, so that a bound holds on slow and fast machines.

What else the machine does slows one turn and not the next, so the quickest of several counts; and it slows the
yardstick as well, which is applied just before and just after.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable

TURNS = 12
"""How often work is repeated while it looks too slow."""
_TEXT = "a word, another <word@example.com> and 550 5.1.1 more of them\n" * 1200


def effort(work: Callable[[], object]) -> float:
    """How many yardsticks some work takes, done once."""
    before = yardstick()
    taken = _seconds(work)
    return 2 * taken / (before + yardstick())


def is_within(work: Callable[[], object], limit: float) -> bool:
    """Whether some work takes less than `limit` yardsticks."""
    return any(effort(work) < limit for _ in range(TURNS))


def growth(one: Callable[[], object], two: Callable[[], object], limit: float) -> float:
    """How many times as much as the one the other takes, by the quickest turns, taken until that is below the limit.

    What takes next to nothing does not grow: a yardstick more is nothing.
    """
    small = large = float("inf")
    for turn in range(TURNS):
        small, large = min(small, effort(one)), min(large, effort(two))
        if turn and large - 1 < limit * small:
            break
    return (large - 1) / small


def yardstick() -> float:
    """The processor time of one yardstick now, in seconds: about 0.005 on a good machine."""
    return _seconds(_ordinary_work)


def _ordinary_work() -> None:
    Counter(word for line in _TEXT.splitlines() for word in re.findall(r"[\w.@]+", line.lower()))


def _seconds(work: Callable[[], object]) -> float:
    """The processor time of this process that some work takes."""
    began = time.process_time()
    work()
    return time.process_time() - began
