"""Uncounted: why a report counts for nobody, in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retour_policy.core.proof import COPIED, UNSIGNED

if TYPE_CHECKING:
    from retour_policy.core.fold import Judged

_BLAMES = {"sender": "the sender is to blame", "content": "the content is to blame"}


def uncounted_words(fact: Judged) -> str:
    """Why a fact that does not count does not; empty for those that never do, such as a delay."""
    why = _why(fact)
    return f"counts for nobody: {why}" if why else ""


def _why(fact: Judged) -> str:
    if fact.kind not in ("bounce", "complaint", "unsubscribe", "autoreply"):
        return ""
    if fact.proof == COPIED:
        return "the copy of somebody else's mail failed"
    if fact.kind == "complaint" and fact.proof != UNSIGNED:
        return "feedback of this type is no complaint"
    if fact.kind == "bounce" and fact.blame in _BLAMES:
        return _BLAMES[fact.blame]
    if fact.proof == UNSIGNED:
        return "nothing proves that it is about our mail"
    return "it does not tell that the recipient is to blame"
