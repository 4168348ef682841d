"""Attribution: which recorded recipient each part of a report is about. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from retour_bounces import RecipientReport, Report
from retour_policy.address import domain_of, is_same_mailbox, without_tag

KeyOf = Callable[[str], bytes]
MIN_HASH_CHARACTERS = 20  # that stand for a local part; a hash is longer, and most names are not


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


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recorded recipient of a send."""

    number: int
    key: bytes
    text: str | None
    """None: erased."""

    def is_named(self, name: str, key_of: KeyOf) -> bool:
        """Whether an address in a report is theirs, as their server may write it."""
        if self.text is None:
            return self.key in (key_of(name), key_of(without_tag(name)))
        return is_same_mailbox(name, self.text)


def attribute(
    report: Report,
    recipients: Mapping[int, bytes],
    key_of: KeyOf,
    only: Recipient | None = None,
    *,
    withheld: Collection[bytes] = (),
) -> list[AttributedPart]:
    """Assign the parts of `report` to the recorded `recipients` (address number to key) of its send.

    The text (Original-Recipient, Final-Recipient) must name one. Where something surer than the text says that the
    report comes back from `only`, what names nobody, or only others, is theirs too: people forward their mail. Parts
    beside one that names them are not. What names one who was withheld from this send (`withheld`, keys) is about
    nobody else.
    """
    by_key = {key: number for number, key in recipients.items()}
    found = [_attributed(part, report.recipient, by_key, key_of) for part in parts_of(report)]
    if only is None or any(one.address_id == only.number for one in found):
        return found
    rest = [one for one in found if not any(key_of(name) in withheld for name in _names(one, report.recipient))]
    assigned = {id(one): _assigned(only, one, report.recipient, key_of) for one in rest}
    if any(_names(one, report.recipient) and one.conflict is None for one in assigned.values()):
        assigned = {number: one for number, one in assigned.items() if one.conflict is None}
    return [assigned.get(id(one), one) for one in found]


def texts_of(part: RecipientReport | None, named: str | None) -> list[str]:
    """What a part of a report, or the report itself, calls its recipient."""
    return [text for text in ((part.original_recipient, part.recipient) if part else (named,)) if text]


def parts_of(report: Report) -> list[RecipientReport | None]:
    """The report's parts; a single None if it is not about delivery. A bounce that names nobody has one part."""
    if report.kind == "bounce" and not report.reports:
        return [NAMELESS]
    return list(report.reports) or [None]


def is_redacted(name: str | None, recipient: str | None) -> bool:
    """Whether a complaint keeps the recipient's name to itself, as providers do.

    A hash may stand for the local part, and the domain remains (RFC 6590 section 3).
    """
    if not name or "@" not in name or "redacted" in name.lower():
        return True
    return _is_hash(name.rpartition("@")[0]) and recipient is not None and domain_of(name) == domain_of(recipient)


def _is_hash(local: str) -> bool:
    """Whether a local part looks like octets in base64 or in hexadecimal."""
    characters = local.translate({ord(one): None for one in "+/=-_"})
    is_mixed = any(map(str.isdigit, characters)) and any(map(str.isalpha, characters))
    return len(characters) >= MIN_HASH_CHARACTERS and characters.isalnum() and is_mixed


def _attributed(
    part: RecipientReport | None, named: str | None, by_key: Mapping[bytes, int], key_of: KeyOf
) -> AttributedPart:
    key = next((key for key in map(key_of, texts_of(part, named)) if key in by_key), None)
    return AttributedPart(part, by_key[key], key) if key else AttributedPart(part, None)


def _assigned(only: Recipient, one: AttributedPart, named: str | None, key_of: KeyOf) -> AttributedPart:
    redacts = one.part is None and is_redacted(named, only.text)
    names = [] if redacts else _names(one, named)
    conflict = names[0] if names and not any(only.is_named(name, key_of) for name in names) else None
    return replace(one, address_id=only.number, key=only.key, conflict=conflict)


def _names(one: AttributedPart, named: str | None) -> list[str]:
    """The addresses that a part names; the final recipient, at whom it failed, comes first."""
    texts = (one.part.recipient, one.part.original_recipient) if one.part else (named,)
    return [text for text in texts if text and "@" in text]
