"""Fact: a fact as a short text and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retour_cli.output import counted
from retour_policy.clock import day_text, iso_text
from retour_policy.core.fold import StepResult
from retour_policy.core.proof import COPIED, UNSIGNED, VOUCHED
from retour_policy.core.scope import scope_text
from retour_policy.store.facts import Fact, NewFact

SHOWN_AS = {"came_to": "delivered_to", "of": "max_attempts", "conflict": "names"}
"""Keys of a fact's detail that are shown by the names that hook events and logs use. The stored ones are older."""


def as_dict(fact: Fact) -> dict[str, Any]:
    """A fact as plain values, its time as text."""
    values = fact.to_dict() | {"at": iso_text(fact.what.at)}
    if values.get("imported"):
        values["imported"] = iso_text(values["imported"])
    return {SHOWN_AS.get(name, name): value for name, value in values.items()}


def words(fact: Fact) -> str:
    """A fact in a few words, such as "bounce hard 5.1.1 userunknown"."""
    what = fact.what
    parts = [what.kind, what.type, what.status, what.reason, what.detail.get("cause"), *_act_words(what)]
    if what.detail.get("resend"):
        which = f"resend {what.detail['resend']} of {what.detail.get('of')}"
        parts = [which] if what.kind == "resent" else [*parts, f"({which})"]
    if what.detail.get("count"):
        parts.append(f"({what.detail['count']} more that day)")
    if what.proof in (UNSIGNED, VOUCHED):
        parts.append(f"({what.proof})")
    if what.detail.get("conflict"):
        copies = ", who gets copies of others' mail" if what.proof == COPIED else ""
        parts.append(f"(the report names {what.detail['conflict']}{copies})")
    if what.detail.get("authentication"):
        parts.append(f"({what.detail['authentication']})")
    if what.detail.get("lost_send"):
        parts.append("(record gone)")
    return " ".join(part for part in parts if part)


def _act_words(what: NewFact) -> list[str]:
    """Where and until when what an operator, a list or a trial did holds; which facts a storm or an undo took."""
    detail = what.detail
    if what.kind == "suppress":
        until = f"until {day_text(detail['until'])}" if detail.get("until") else "for good"
        return [scope_text(detail["scope"]), until]
    if what.kind in ("lift", "trial"):
        return [", ".join(map(scope_text, detail["scopes"]))]
    if what.kind in ("held", "revived", "undone"):
        of = [f"by storm {detail['storm']}"] if detail.get("storm") else []
        return [counted(len(detail["facts"]), "failure"), *of]
    return []


def led_to(steps: Sequence[StepResult]) -> dict[int, str]:
    """What each fact of an address led to, in words, by the fact's id; `steps` are those of the fold of them all."""
    return {step.fact: step.why for step in steps if step.why}
