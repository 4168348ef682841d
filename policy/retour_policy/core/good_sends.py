"""Good sends: the one meaning of a send that arrived, for live counting, rebuilding, purging and simulating. Pure."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from retour_policy.core.decide import RuleSet


@dataclass(frozen=True, slots=True)
class SendTimes:
    """The sends to one address that may have reached somebody, and when each first failed."""

    made: Sequence[tuple[int, int]]
    """Send id and time, in order."""
    failed: Mapping[int, tuple[int, int]]
    """By send id: the time (milliseconds) and the number of the fact, for two facts may have the same time."""

    def without(self, send: int) -> SendTimes:
        """The same but for one send; 0: for none."""
        return replace(self, made=[one for one in self.made if one[0] != send]) if send else self

    def good(self, at: int, rules: RuleSet, fact: int = sys.maxsize) -> tuple[int, ...]:
        """When the latest sends that were good at `at` were made, the latest first; at most `heal_sends`, or one.

        A send is good when `heal_after` has passed without a failure of it. Of the facts of that very time only those
        up to the number `fact` are known.
        """
        return tuple(islice(self._good(at, rules.heal_after, fact), max(rules.heal_sends, 1)))

    def latest_good(self, at: int, heal_after: int) -> int:
        """When the latest send that was good at `at` was made; 0 if none was."""
        return next(self._good(at, heal_after, sys.maxsize), 0)

    def _good(self, at: int, heal_after: int, fact: int) -> Iterator[int]:
        end = bisect_right(self.made, at - heal_after, key=lambda one: one[1])
        for send, made in reversed(self.made[:end]):
            if not self.failed.get(send, (at + 1, 0)) <= (at, fact):
                yield made
