"""Erased: what may be kept of a fact about an erased person. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retour_policy.core.suppression import CAUSES

KEPT = frozenset(
    {"scope", "scopes", "facts", "until", "since", "cause", "state", "suppressions", "dated", "storm", "resend", "of"}
    | {"count", "imported", "way", "keeps_counts"}
)
"""The keys of a fact's detail that are kept: those that the fold needs, and numbers, without personal data."""

_NOTES = ("note", "suppressions", "status", "reason")


def notes_of(detail: Mapping[str, Any]) -> list[Any]:
    """The parts of a fact's detail that the note of a suppression is made of."""
    return [detail.get(name) for name in _NOTES]


def kept_of_erased(detail: Mapping[str, Any]) -> dict[str, Any]:
    """The remaining detail of a fact about a person who was erased."""
    kept = {name: value for name, value in detail.items() if name in KEPT}
    if kept.get("cause") not in CAUSES:  # of withheld mail it is a text, with the postmaster's note in it
        kept.pop("cause", None)
    if "suppressions" in kept:  # as a purge carried them forward, with the postmaster's notes
        kept["suppressions"] = [one | {"note": ""} for one in kept["suppressions"]]
    return kept
