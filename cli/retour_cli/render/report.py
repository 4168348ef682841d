"""Report: the lines that explain a returned message to a person, none wider than a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import click

from retour_bounces import RecipientReport, Report
from retour_bounces.classify.status_codes import NO_CODE
from retour_bounces.evidence import MAX_PASSAGES, Passage, passages
from retour_cli.output import LINE_CHARACTERS, spaced, wrapped

MORE = "…"
"""Where a line is cut."""


_BRINGS_BACK = {"bounce", "delayed", "delivered", "relayed", "expanded", "complaint"}


def report_lines(file: str, data: bytes, report: Report) -> Iterator[str]:
    """What a message is, and why: its kind, each recipient's verdict, and the passages that prove it."""
    cut = ", not read to its end (truncated)" if report.truncated and data.strip() else ""
    yield f"{spaced(file)}: {click.style(report.kind, bold=True)}{cut}"
    about = ", ".join(filter(None, (report.reason, report.recipient)))
    if about:
        yield from wrapped("  ", about, of_report=True)
    for recipient in report.reports:
        yield ""
        yield from _recipient(recipient)
    yield from _original(report)
    found = passages(data, report)
    if found:
        yield ""
        yield "  Lines that this rests on"
        for passage in found[:MAX_PASSAGES]:
            yield from _marked(passage)
        if len(found) > MAX_PASSAGES:
            yield f"    {MORE} and more"


def _original(report: Report) -> Iterator[str]:
    original = report.original
    facts = {
        "message id": original.message_id,
        "reference": original.retour_ref,
        "subject": original.subject,
        "sender": original.sender,
        "envelope id": original.envelope_id,
    }
    if any(facts.values()):
        yield ""
        yield "  The message that came back" if report.kind in _BRINGS_BACK else "  The message that it answers"
        for label, value in facts.items():
            if value:
                yield from wrapped(f"    {label:<12} ", value, of_report=True)


def _recipient(one: RecipientReport) -> Iterator[str]:
    verdict = ", ".join(filter(None, (one.action, one.type, one.reason)))
    blame = f"; {one.blame} is to blame" if one.blame and one.blame != "nobody" else ""
    yield from wrapped("  ", f"{one.recipient or 'a recipient that is not named'}: {verdict}{blame}", of_report=True)
    facts = {
        "first sent to": one.original_recipient if one.original_recipient != one.recipient else None,
        "known inside as": one.inner_recipient,
        "status": _status(one),
        "rule": _rule(one),
        "fired on": f'"{one.evidence}"' if one.evidence else None,
        "said": one.diagnostic or None,
        "but": one.contradiction,
    }
    for label, value in facts.items():
        if value:
            yield from wrapped(f"    {label:<15} ", value, of_report=True)


def _status(one: RecipientReport) -> str | None:
    if one.status == NO_CODE:
        return f"{one.status} (derived: there is neither a code nor words that say which)"
    source = {"wire": " (stands in the message)", "derived": " (concluded)"}.get(one.status_source or "", "")
    return f"{one.status}{source}" if one.status else None


def _rule(one: RecipientReport) -> str | None:
    counts = one.action != "failed" or one.blame != "nobody"
    if one.rule:
        return one.rule if counts else f"{one.rule}: says too little, so it counts for nobody: docs/rules.md"
    if one.reason:
        return "none; the code table"
    return None if counts else "none knows these words, so it counts for nobody: docs/rules.md"


def _marked(passage: Passage) -> Iterator[str]:
    """A line around its evidence, and marks beneath it."""
    room = LINE_CHARACTERS - 6
    begin = max(0, min(passage.start - 20, len(passage.line) - room))
    line = spaced(passage.line[begin : begin + room])
    if begin:
        line = MORE + line[1:]
    if begin + room < len(passage.line):
        line = line[:-1] + MORE
    start, end = passage.start - begin, min(passage.end - begin, room)
    yield f"    | {line}"
    yield f"      {' ' * start}{'^' * max(1, end - start)}"
