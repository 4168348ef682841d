"""Evidence: the lines of a message that its report rests on, with the place of the evidence in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from retour_bounces.message.parts import Message, scan
from retour_bounces.readers import wrapped
from retour_bounces.readers.view import View
from retour_bounces.report import Report

MAX_PASSAGES = 12
"""Passages of one message that are worth showing."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One line of the (decoded) message, and the characters of it that count."""

    line: str
    start: int
    end: int


def passages(data: bytes, report: Report) -> list[Passage]:
    """The lines of the message `data` that name a reported recipient or hold the evidence for a verdict; one more than
    `MAX_PASSAGES` where there are more."""
    wanted = [one.evidence for one in report.reports if len(one.evidence) > 2]
    wanted += [one.recipient for one in report.reports if one.recipient]
    wanted += [report.recipient] if report.recipient else []
    view = View(scan(data))
    found: list[Passage] = []
    for text in (text for one in (view, *wrapped.inside(view)) for text in _texts(one.message)):
        for line in text.split("\n"):
            passage = _in_line(line[:2_000], wanted)
            if passage is not None and passage not in found:
                found.append(passage)
            if len(found) > MAX_PASSAGES:
                return found
    return found


def _texts(message: Message) -> Iterator[str]:
    yield message.fields.text()
    yield from (part.text() for part in message.parts if not part.is_returned)


def _in_line(line: str, wanted: list[str]) -> Passage | None:
    lower = line.lower()
    for text in wanted:
        at = lower.find(text.lower())
        if at >= 0:
            return Passage(line, at, at + len(text))
    return None
