"""Storm: when a burst of bounces says more about the receiving side, or about us, than about its users. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from retour_policy.address import domain_ascii, domain_of
from retour_policy.clock import DAY, HOUR, MINUTE
from retour_policy.core.decide import FAILURES, Class

BUCKET_MS = 5 * MINUTE
CALM_WINDOW_MS = HOUR  # the sends that decide whether a storm goes on
SILENCE_MS = 36 * HOUR  # without mail nothing is known of a side; so long, a daily mailing finds its storm still open
ALL_SIDES = "*"  # the side of a storm over all sides of a stream; no domain
ERASED_SIDE = ""  # of an address whose text is erased: it may have been at any side
MIN_FAILING_SIDES = 5  # fewer have each a storm of their own, or are too few to tell


class Limits(Protocol):
    """The numbers of the configuration's [storm]. Spans are milliseconds."""

    @property
    def window(self) -> int: ...
    @property
    def least(self) -> int: ...
    @property
    def share(self) -> float: ...
    @property
    def all_of(self) -> int: ...
    @property
    def sides_share(self) -> float: ...
    @property
    def repeats(self) -> int: ...
    @property
    def repeats_over(self) -> int: ...
    @property
    def soft_repeats_over(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted in a period from one stream to one side."""

    sent: int
    failed: int
    """How many of these failed, and blame the recipient or the network."""
    late: int = 0
    """How many failures came of mail that was sent long before."""
    refused: int = 0
    """How many came back and blame the sender."""
    told: int = 0
    """Whether a burst of these was told."""

    @property
    def failures(self) -> int:
        """Those that came soon and those that came late."""
        return self.failed + self.late

    @property
    def share(self) -> float:
        """The share that failed; without sends 0, or 1 if late failures came."""
        return self.failures / self.sent if self.sent else float(self.failures > 0)


def breaks_out(figures: Figures, limits: Limits) -> bool:
    """Whether this is a storm: many and a large part of them, or several and all of them. 0 switches it off."""
    if not limits.least:
        return False
    many = figures.failures >= limits.least and figures.share >= limits.share
    return many or _all_of(figures.failed, figures, limits)


def blames_sender(figures: Figures, limits: Limits) -> bool:
    """Whether the side refuses our mail so often, by the same numbers. 0 switches it off."""
    if not limits.least:
        return False
    many = figures.refused >= limits.least and figures.refused >= limits.share * figures.sent
    return many or _all_of(figures.refused, figures, limits)


def _all_of(number: int, figures: Figures, limits: Limits) -> bool:
    return bool(limits.all_of and number >= limits.all_of and number >= figures.sent)


def breaks_everywhere(sides: int, failing: int, limits: Limits) -> bool:
    """Whether so many of the sides written to fail at once that it is us, our resolver or our line."""
    return failing >= MIN_FAILING_SIDES and failing >= limits.sides_share * sides


def looks_everywhere(failures: int, limits: Limits) -> bool:
    """Whether at this number of failures all sides are looked at: at `least`, and each time there are twice as many.

    Looking reads the counters of all sides, which each failure must not.
    """
    if not (limits.least and limits.sides_share) or failures % limits.least:
        return False
    times = failures // limits.least
    return times > 0 and times & (times - 1) == 0


def is_calm(figures: Figures, limits: Limits) -> bool:
    """Whether these sends fail less than half as often as a storm does."""
    return figures.share < limits.share / 2


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of one address, as the guard sees it. Times are milliseconds."""

    class_: Class
    at: int
    sent_at: int
    held: int = 0
    """The fact, if a storm holds it."""


def repeating(failures: Iterable[Failure], good: int, pending: int | None, limits: Limits) -> Sequence[Class]:
    """The classes whose held failures count now, because this address has failed again and again.

    That is on `repeats` distinct days over at least `repeats_over` (soft and network: `soft_repeats_over`), with no
    good send between: what failed before the latest good send, made at `good`, is gone. A send made at `pending`, the
    first one that neither failed nor is old enough to be good, may turn out to be one: what was sent later waits.
    """
    run = [one for one in failures if one.at >= good and (pending is None or one.sent_at <= pending)]
    return [name for name in FAILURES if _repeats([one.at for one in run if one.class_ == name], name, limits)]


def _repeats(times: Sequence[int], name: Class, limits: Limits) -> bool:
    least = limits.repeats_over if name == "hard" else limits.soft_repeats_over
    return len({at // DAY for at in times}) >= max(limits.repeats, 1) and max(times) - min(times) >= least


def bucket(at: int) -> int:
    """The five minutes that `at` (milliseconds) is in."""
    return at - at % BUCKET_MS


class Sides:
    """Which receiving side a domain belongs to: itself, or a group that the postmaster named."""

    def __init__(self, groups: Mapping[str, tuple[str, ...]]) -> None:
        self._group = {domain_ascii(domain): name for name, domains in groups.items() for domain in domains}

    def of(self, address: str) -> str:
        """The side of an address."""
        domain = domain_of(address)
        return self._group.get(domain, domain)[:255]
