"""Program: what a program that delivers mail on the receiving side said, and what its exit code means (sysexits.h)."""

from __future__ import annotations

import re
from typing import Literal

from retour_bounces.classify.verdict import Judge, Verdict

_OUTPUT = re.compile(r"\b(?:(?:command|program) output|generated during the delivery attempt):\s*(\S.*)", re.IGNORECASE)
_EXIT = re.compile(
    r"(?:^x-unix; |\b(?:exit|returned|died with|exited with)(?: code| status)? )(\d{1,3})(?=\W|$)", re.IGNORECASE
)
_STATUS_OF_EXIT = {"67": "5.1.1", "68": "5.1.2", "75": "4.3.0"}
"""EX_NOUSER, EX_NOHOST and EX_TEMPFAIL; what the others say is that the program failed."""
_SAYING_LITTLE = {"mailererror", "policyviolation", "onhold"}
MAX_TEXT_CHARACTERS = 3_000
"""Characters of the text in which the program's words are looked for."""


def by_program(verdict: Verdict, judge: Judge, text: str = "") -> Verdict:
    """The same verdict; where it is only that a program failed, what the program said, or what its exit code means.

    `text` is looked at besides the diagnostic.
    """
    if verdict.reason != "mailererror":
        return verdict
    passages = verdict.diagnostic, " ".join(text[:MAX_TEXT_CHARACTERS].split())
    for output in filter(None, map(_OUTPUT.search, passages)):
        said = judge(output[1], verdict.status if verdict.status_source == "wire" else None)
        if said.rule is not None and said.reason not in _SAYING_LITTLE:
            return said.about(verdict.diagnostic)
    codes = [found for found in map(_EXIT.search, passages) if found and found[1] in _STATUS_OF_EXIT]
    return _by_code(verdict, judge, codes[0]) if codes else verdict


def _by_code(verdict: Verdict, judge: Judge, found: re.Match[str]) -> Verdict:
    status = _STATUS_OF_EXIT[found[1]]
    if status[0] == "4" and verdict.type == "soft":
        return verdict
    source: Literal["wire", "derived"] = "wire" if verdict.status == status else "derived"
    meant = verdict._replace(type="soft") if status[0] == "4" else judge("", status)
    return meant._replace(status=status, status_source=source, evidence=found[0], diagnostic=verdict.diagnostic)
