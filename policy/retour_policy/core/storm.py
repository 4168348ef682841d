"""Storm: when a burst of hard bounces says more about the receiving side than about its users. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from retour_policy.address import domain_ascii, domain_of
from retour_policy.clock import HOUR, MINUTE

BUCKET_MS = 5 * MINUTE
CALM_WINDOW_MS = HOUR  # the sends that decide whether a storm goes on


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


@dataclass(frozen=True, slots=True)
class Figures:
    """Sends in a period from one stream to one side: how many, and how many failed hard and blame the recipient."""

    sent: int
    failed: int

    @property
    def share(self) -> float:
        """The share that failed; 0 without sends."""
        return self.failed / self.sent if self.sent else 0.0


def breaks_out(figures: Figures, limits: Limits) -> bool:
    """Whether this is a storm: many and a large part of them, or several and all of them. 0 switches it off."""
    if not limits.least:
        return False
    many = figures.failed >= limits.least and figures.share >= limits.share
    return many or bool(limits.all_of and figures.failed >= limits.all_of and figures.failed >= figures.sent)


def is_calm(figures: Figures, limits: Limits) -> bool:
    """Whether the sends of the last hour fail less than half as often as a storm does."""
    return figures.share < limits.share / 2


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
