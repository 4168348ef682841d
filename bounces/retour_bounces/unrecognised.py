"""Unrecognised: what no rule knew in a heap of reports, grouped, so that the next rule can be written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from retour_bounces.classify.rules import Rules
from retour_bounces.message import addresses
from retour_bounces.message.parts import scan
from retour_bounces.readers.view import View
from retour_bounces.report import Report

_NUMBER = re.compile(r"[0-9a-f]*\d[0-9a-f.:-]*", re.IGNORECASE)
_URL = re.compile(r"https?://\S+")
_HOST = re.compile(r"(?<![\w.])(?:[a-z0-9-]+\.)+[a-z]{2,}(?![\w.])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Group:
    """Replies that are alike but for addresses, hosts and numbers."""

    count: int
    shape: str
    """What they share."""
    example: str
    """One of them."""
    status: str | None
    file: str
    """Where the example stands."""


def group(read: Iterable[tuple[str, bytes, Report]], rules: Rules) -> list[Group]:
    """Groups what fell through in messages given as file name, bytes and report; the largest group first."""
    found: dict[str, Group] = {}
    for file, data, report in read:
        for status, text in _fallen(data, report, rules.vague):
            shape = shape_of(text)
            old = found.get(shape)
            found[shape] = Group(
                old.count + 1 if old else 1,
                shape,
                old.example if old else text,
                status,
                old.file if old else file,
            )
    return sorted(found.values(), key=lambda one: (-one.count, one.shape))


def shape_of(text: str) -> str:
    """`text` with addresses, links, hosts and numbers blotted out."""
    text = addresses.FIND.sub("@", text.lower())
    return " ".join(_NUMBER.sub("#", _HOST.sub("host", _URL.sub("link", text))).split())[:200]


def _fallen(data: bytes, report: Report, vague: frozenset[str]) -> Iterable[tuple[str | None, str]]:
    for one in report.reports:
        if one.action == "failed" and (one.rule is None or one.rule in vague):
            yield one.status, one.diagnostic or "(no words)"
    if report.kind == "not-a-report":
        view = View(scan(data))
        if view.is_from_mail_system:
            yield None, f"(no recipient found) {view.fields.get('subject')[:120]}"
