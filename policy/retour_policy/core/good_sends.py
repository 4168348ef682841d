"""Good sends: the one meaning of a send that arrived, for live counting, rebuilding, purging and simulating. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from retour_policy.core.decide import RuleSet


@dataclass(frozen=True, slots=True)
class SendTimes:
    """The sends to one address that may have reached somebody, and when each first failed (milliseconds)."""

    made: Sequence[tuple[int, int]]
    """Send id and time, in order."""
    failed: Mapping[int, int]
    """By send id."""

    def good(self, at: int, rules: RuleSet) -> tuple[int, ...]:
        """When the latest sends that were good at `at` were made, the latest first; at most `heal_sends`, or one.

        A send is good when `heal_after` has passed without a failure of it.
        """
        return tuple(islice(self._good(at, rules.heal_after), max(rules.heal_sends, 1)))

    def latest_good(self, at: int, heal_after: int) -> int:
        """When the latest send that was good at `at` was made; 0 if none was."""
        return next(self._good(at, heal_after), 0)

    def _good(self, at: int, heal_after: int) -> Iterator[int]:
        end = bisect_right(self.made, at - heal_after, key=lambda one: one[1])
        for send, made in reversed(self.made[:end]):
            if not self.failed.get(send, at + 1) <= at:
                yield made
