"""Finding: one thing that is wrong, how urgent it is, and the exact line that mends it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from retour_policy.errors import EX_CONFIG, EX_FAILED


class Urgency(IntEnum):
    """How soon it must be mended; the most urgent sorts first."""

    CRITICAL = 0
    """Mail is lost, refused or held up, or a service does not start."""
    WARNING = 1
    """Reports are lost or counted wrong, or messages go out that should not."""
    HINT = 2
    """It works, and could be better."""

    @property
    def exit_status(self) -> int:
        """78 for what keeps mail from going, 1 for what is to be mended, 0 for hints."""
        return {Urgency.CRITICAL: EX_CONFIG, Urgency.WARNING: EX_FAILED, Urgency.HINT: 0}[self]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    urgency: Urgency
    name: str
    """For programs and for docs/doctor.md; it stays the same when the words change."""
    text: str
    """What is wrong and what comes of it, in a sentence or two."""
    mend: tuple[str, ...] = ()
    """Commands, or lines for a file, to be copied as they are."""
    key: str = ""
    """The setting of retour.toml that it is about, if any."""


def critical(name: str, text: str, *mend: str, key: str = "") -> Finding:
    """A finding of that urgency."""
    return Finding(Urgency.CRITICAL, name, text, mend, key)


def warning(name: str, text: str, *mend: str, key: str = "") -> Finding:
    """A finding of that urgency."""
    return Finding(Urgency.WARNING, name, text, mend, key)


def hint(name: str, text: str, *mend: str, key: str = "") -> Finding:
    """A finding of that urgency."""
    return Finding(Urgency.HINT, name, text, mend, key)


def exit_status(findings: Iterable[Finding]) -> int:
    """That of the most urgent one; 0 if there is none."""
    return min((one.urgency for one in findings), default=Urgency.HINT).exit_status
