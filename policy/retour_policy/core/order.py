"""Order: an address's facts in the order in which they happened, though a clock that was ahead dated some. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from retour_policy.clock import DAY
from retour_policy.core.fold import Entry

MAX_DISORDER_MS = DAY  # less is told apart from clocks of hosts that differ, or of a zone that was wrong, by nobody
EARLIEST = 1_577_836_800_000  # 2020-01-01: before there was a Retour; a clock that says so has not been set


def was_ahead(earlier: int, later: int) -> bool:
    """Whether a fact written at `earlier` was dated by a clock that was ahead, since another followed at `later`."""
    return later >= EARLIEST and earlier > later + MAX_DISORDER_MS


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """The facts by time and number; one from a clock that was ahead has the time of the next that was not.

    Facts are numbered as they are written, so each is no later than those with higher numbers. Only imported ones have
    dates of their own, and only a carried one is written about the past: from these nothing follows for others.
    """
    found, limit = list[Entry](), 0
    for entry in sorted(entries, key=lambda one: one.id, reverse=True):
        at = limit if limit and was_ahead(entry.at, limit) else entry.at
        found.append(entry if at == entry.at else replace(entry, at=at, sent_at=min(entry.sent_at, at)))
        if not (entry.detail.get("dated") or entry.kind == "carried"):
            limit = min(limit or at, at)
    return sorted(_after_purge(found), key=lambda one: (one.at, one.id))


def _after_purge(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The facts; one that was imported after a purge, and is older than what that carried forward, comes next to it.

    Otherwise the carried fact, which states the whole account, would take its place.
    """
    carried = max(((one.id, one.at) for one in entries if one.kind == "carried"), default=(0, 0))
    for one in entries:
        is_late = one.detail.get("dated") and one.id > carried[0] and one.at < carried[1]
        yield replace(one, at=carried[1]) if is_late else one
