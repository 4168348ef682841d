"""Attribution: which recorded recipient each part of a report is about. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Literal

from retour_bounces import RecipientReport, Report

Proof = Literal["signed", "shared", "corroborated", "unsigned"]
KeyOf = Callable[[str], bytes]


NAMELESS = RecipientReport(
    recipient=None,
    original_recipient=None,
    action="failed",
    type="hard",
    status="9.1.1",
    status_source="derived",
    reason=None,
    blame="nobody",
    rule=None,
    evidence="",
    diagnostic="",
)
"""What a bounce says that names neither recipient nor code: the code table's "hard bounce with no code found"."""


@dataclass(frozen=True, slots=True)
class AttributedPart:
    """One part of a report (None for an auto-reply and the like), and the recipient that it is about."""

    part: RecipientReport | None
    address_id: int | None
    """None: no recipient of the send record."""
    key: bytes | None = None
    conflict: str | None = None
    """The address in the text, if it is not the recorded one."""


def attribute(
    report: Report,
    recipients: dict[int, bytes],
    named: str | None,
    key_of: KeyOf,
    *,
    withheld: Collection[bytes] = (),
    guess: bool = True,
) -> list[AttributedPart]:
    """Assign the parts of `report` to the recorded `recipients` (address number to key) of its send.

    With one recipient the token decides, not the address in the text: people forward their mail.
    With several, the text (Original-Recipient, Final-Recipient) or `named`, which XVERP put into the
    address, must name a recorded one. So must a report without a token (`guess` is False).
    What names one who was withheld from this send (`withheld`, keys) is about nobody else.
    """
    by_key = {key: number for number, key in recipients.items()}
    found = [_attributed(part, report.recipient, by_key, key_of) for part in parts_of(report)]
    only = _only(recipients, by_key, named, key_of) if guess else None
    if only is None or any(one.address_id == only for one in found):
        return found
    apart = [bool(withheld) and _names(one.part, report.recipient, withheld, key_of) for one in found]
    return [
        one if names_withheld else _assigned(only, recipients[only], one, report.recipient)
        for one, names_withheld in zip(found, apart, strict=True)
    ]


def _names(part: RecipientReport | None, named: str | None, keys: Collection[bytes], key_of: KeyOf) -> bool:
    return any(key_of(text) in keys for text in texts_of(part, named))


def texts_of(part: RecipientReport | None, named: str | None) -> list[str]:
    """What a part of a report, or the report itself, calls its recipient."""
    return [text for text in ((part.original_recipient, part.recipient) if part else (named,)) if text]


def _only(recipients: dict[int, bytes], by_key: dict[bytes, int], named: str | None, key_of: KeyOf) -> int | None:
    if len(recipients) == 1:
        return next(iter(recipients))
    return by_key.get(key_of(named)) if named else None


def parts_of(report: Report) -> list[RecipientReport | None]:
    """The report's parts; a single None if it is not about delivery. A bounce that names nobody has one part."""
    if report.kind == "bounce" and not report.reports:
        return [NAMELESS]
    return list(report.reports) or [None]


def _attributed(
    part: RecipientReport | None, named: str | None, by_key: dict[bytes, int], key_of: KeyOf
) -> AttributedPart:
    key = next((key for key in map(key_of, texts_of(part, named)) if key in by_key), None)
    return AttributedPart(part, by_key[key], key) if key else AttributedPart(part, None)


def _assigned(only: int, key: bytes, one: AttributedPart, named: str | None) -> AttributedPart:
    conflict = (one.part.original_recipient or one.part.recipient) if one.part else named
    return replace(one, address_id=only, key=key, conflict=conflict)
