"""Candidates: the addresses that a text names, and which of them are its recipients."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from retour_bounces.classify.status_codes import PERMANENT, TEMPORARY
from retour_bounces.report import Action

MAX_CANDIDATE_LINES = 40
"""Lines kept of what is said about one address."""


@dataclass(slots=True)
class Candidate:
    """An address that a text names, and what it says about it."""

    recipient: str
    rank: int
    """How surely it is a recipient: 1 stands alone or before its error, 2 behind a label, 3 in a dialogue,
    4 in a sentence about failure, 5 anywhere."""
    action: Action | None = None
    original: str | None = None
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The lines about it, as one."""
        return " ".join(self.lines)


def lines_of(text: str) -> list[str]:
    """The lines of a candidate about which one `text` is said, maybe empty."""
    return [text] if text else []


def _has_own_reply(one: Candidate) -> bool:
    """Does an address stand alone or before a reply that is not about it as a sender?"""
    refused = PERMANENT.search(one.text) or TEMPORARY.search(one.text)
    return one.rank == 1 and refused is not None and "sender" not in one.text.lower()


def recipients_among(candidates: list[Candidate], excluded: set[str], writers: Collection[str] = ()) -> list[Candidate]:
    """The candidates of the surest kind, one an address; what else is said of the same address joins it.

    The `excluded` (in lower case) are hardly recipients; `writers`, who wrote the returned message, only where they
    have a reply of their own: a list brings its members their own posts.
    """
    known: dict[str, Candidate] = {}
    for candidate in candidates:
        key = candidate.recipient.lower()
        first = known.setdefault(key, candidate)
        if first is not candidate:
            further = [line for line in candidate.lines if line not in first.lines]
            first.lines = [*first.lines, *further][:MAX_CANDIDATE_LINES]
            first.rank = min(first.rank, candidate.rank)
            first.original = first.original or candidate.original
    usable = [one for key, one in known.items() if key not in excluded or (key in writers and _has_own_reply(one))]
    usable = usable or [one for one in known.values() if one.rank in (1, 3)]  # who wrote to themselves
    best = min((one.rank for one in usable), default=0)
    kept = [one for one in usable if one.rank == best or (best <= 2 and one.rank <= 2)]
    if best == 4 and len({_beginning(one.text) for one in kept}) > 2:
        return []  # so many sentences, each in words of its own, are a story, not a list
    return kept


def _beginning(text: str) -> str:
    """The words before the first address."""
    return text.partition("@")[0].rpartition(" ")[0]
