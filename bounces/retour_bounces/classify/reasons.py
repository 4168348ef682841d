"""Reasons: every reason, who can fix it, and the status concluded from it if a message has none."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from retour_bounces.report import Blame


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, in the vocabulary that Sisimai made common."""

    name: str
    blame: Blame
    status: str
    text: str


@cache
def reasons() -> dict[str, Reason]:
    """All reasons by name."""
    raw = resources.files("retour_bounces").joinpath("data/reasons.toml").read_text(encoding="utf-8")
    return {name: Reason(name, **row) for name, row in tomllib.loads(raw).items()}
