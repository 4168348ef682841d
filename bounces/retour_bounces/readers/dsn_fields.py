"""DSN fields: the delivery-status fields of RFC 3464 and RFC 6533 reports, wherever they stand and however broken."""

from __future__ import annotations

import re
from typing import NamedTuple

from retour_bounces.message import addresses
from retour_bounces.message.encoded_word import decoded
from retour_bounces.report import Action

_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{1,60})[ \t]*:[ \t]*(.*)")
_QUOTED = re.compile(r"^(?:[ \t]*>)+[ \t]?|^[ \t]+(?=[A-Z][A-Za-z-]{3,40}[ \t]*:)", re.MULTILINE)
_START = re.compile(
    r"^[> \t]*(?:reporting-mta|action|(?:final|original)-recipient)[ \t]*:", re.IGNORECASE | re.MULTILINE
)
_SIGNS = ("reporting-mta", "action", "-recipient")
"""One of them stands in every text that holds fields."""
_PER_RECIPIENT = {
    "final-recipient",
    "original-recipient",
    "action",
    "status",
    "diagnostic-code",
    "x-actual-recipient",
}
_OPENING = {"final-recipient", "original-recipient", "action", "status"}
_ACTIONS: dict[str, Action] = {
    "failed": "failed", "failure": "failed", "fail": "failed", "error": "failed", "expired": "failed",
    "bounced": "failed", "undeliverable": "failed", "delayed": "delayed", "delay": "delayed",
    "deferred": "delayed", "delivered": "delivered", "deliverable": "delivered", "relayed": "relayed",
    "expanded": "expanded",
}  # fmt: skip
_WORD = re.compile(r"[A-Za-z]+")
_USUAL = _PER_RECIPIENT | {
    "remote-mta", "last-attempt-date", "final-log-id", "will-retry-until", "reporting-mta", "arrival-date",
    "received-from-mta", "original-envelope-id", "x-display-name", "x-postfix-sender", "x-postfix-queue-id",
}  # fmt: skip
_REASON = re.compile(
    r"(?:^|-)(?:reason|supplementary|error|diagnostic|response|explanation|comments?|details?|cause|status-text)(?:$|-)"
)
"""Parts of the names of fields that are there for the reason."""
_SUPPLEMENT = re.compile(r"<?[\w.:\[\]-]{1,255} #\d\.\d{1,3}\.\d{1,3} ?(?:[\w-]{1,20}; ?)?(.*?)>?$", re.DOTALL)
_FOLDED = re.compile(r"(?<=[.@])\n(?=[\w.-])")
"""A line break inside an address."""
_KIND = re.compile(r"\s*[A-Za-z][\w .-]*(\([^)]*\))?\s*")
_CODE = re.compile(r"\s*[\"']?([245])[. ]{1,2}(\d{1,3})[. ]{1,2}(\d{1,3})")


MAX_VALUE_CHARACTERS = 4_000
"""Characters of a field that are read."""
MAX_GROUPS = 8_000
"""Recipients of one report that are read."""


class Group(NamedTuple):
    """The fields about one recipient."""

    recipient: str | None
    original_recipient: str | None
    inner_recipient: str | None
    """The final address where it is a name inside the receiving organisation, and `recipient` the outer one."""
    action: Action | None
    status: str | None
    """Status field's code, None where it is missing or no code."""
    diagnostic: str
    """Diagnostic-Code without its type, still with its line breaks."""
    diagnostic_type: str
    """Type of the diagnostic in lower case, "" where it has none."""
    comment: str
    """What stands behind the code in the Status field."""
    further: str
    """What a field of another name says that is there for the reason, such as X-Supplementary-Info."""


class Status(NamedTuple):
    """All that one delivery-status part says."""

    groups: tuple[Group, ...]
    envelope_id: str | None
    cut: bool
    """There were more recipients than are read."""

    def joined(self, other: Status) -> Status:
        """What this part and another, behind it, say together."""
        groups = self.groups + other.groups if self.groups else other.groups
        cut = self.cut or other.cut or len(groups) > MAX_GROUPS
        return Status(groups[:MAX_GROUPS], self.envelope_id or other.envelope_id, cut)


NO_STATUS = Status((), None, cut=False)


def fields_in(text: str) -> str:
    """The delivery-status fields out of running text, quote marks and indents taken off."""
    lower = text.lower()
    start = _START.search(text) if any(map(lower.__contains__, _SIGNS)) else None
    return _QUOTED.sub("", text[start.start() :]) if start else ""


def parse(text: str) -> Status:
    """Reads the fields of a delivery-status part (RFC 3464 section 2.1)."""
    blocks = _blocks(text)
    message: dict[str, str] = {}
    groups: list[dict[str, str]] = []
    for block in blocks:
        if not _PER_RECIPIENT & block.keys():
            message = block | message
        elif (
            groups
            and "final-recipient" not in block
            and "original-recipient" not in block
            and not (groups[-1].keys() & block.keys())
        ):
            groups[-1] |= block
        else:
            groups.append(block)
    if groups and not message:
        message = groups[0]
    return Status(
        tuple(_group(block) for block in groups),
        message.get("original-envelope-id", "").strip() or None,
        len(blocks) > MAX_GROUPS,
    )


def _blocks(text: str) -> list[dict[str, str]]:
    """Runs of fields; a new run begins at an empty line, or where a field that opens a recipient comes
    again."""
    blocks: list[dict[str, str]] = []
    block: dict[str, str] = {}
    name = ""
    for line in text.split("\n"):
        if not line.strip():
            if block:
                blocks.append(block)
            block, name = {}, ""
            continue
        match = None if line[0] in " \t" else _FIELD.match(line)
        if match is None:
            if name and len(block[name]) < MAX_VALUE_CHARACTERS:
                block[name] += "\n" + line.strip()
            continue
        name = match[1].lower()
        if name in block and name in _OPENING:
            blocks.append(block)
            block = {}
        value = match[2][:MAX_VALUE_CHARACTERS]
        block[name] = f"{block[name]}\n{value}" if name in block and len(block[name]) < MAX_VALUE_CHARACTERS else value
        if len(blocks) >= MAX_GROUPS:
            break
    return [*blocks, block] if block else blocks


def _group(block: dict[str, str]) -> Group:
    final, original = _recipient(block, "final-recipient"), _recipient(block, "original-recipient")
    original = original if original and addresses.tidy(original) else None
    actual = _recipient(block, "x-actual-recipient")
    inner = final if final and addresses.tidy(final) else None
    final = _outer(inner, original) or (actual if actual and addresses.tidy(actual) else None)
    word = _WORD.search(block.get("action", ""))
    code = _CODE.match(block.get("status", ""))
    kind, diagnostic = diagnostic_of(block.get("diagnostic-code", ""))
    return Group(
        final,
        original,
        inner if inner != final else None,
        _ACTIONS.get(word[0].lower()) if word else None,
        ".".join(code.groups()) if code else None,
        diagnostic,
        kind,
        block["status"][code.end() :].strip(" ()\t\n") if code else "",
        _further(block),
    )


def _further(block: dict[str, str]) -> str:
    """What the first field says whose name no standard knows, and which is there for the reason."""
    if block.keys() <= _USUAL:
        return ""
    names = (name for name in block if name not in _USUAL and _REASON.search(name))
    return next((said for name in names if (said := _reply_in(block[name]))), "")


def _reply_in(value: str) -> str:
    """What a server said, out of a field such as <mx.example.com #5.0.0 smtp; 550 "Unknown user">."""
    match = _SUPPLEMENT.match(value)
    return match[1] if match else diagnostic_of(value)[1]


def _outer(final: str | None, original: str | None) -> str | None:
    """The final address; the original where the final one is a name inside the same organisation
    (user@host.example.com)."""
    if final and original:
        inner, outer = final.rpartition("@")[2].lower(), original.rpartition("@")[2].lower()
        if inner == outer or inner.endswith("." + outer) or "." not in inner:
            return original
    return final or original


def _recipient(block: dict[str, str], name: str) -> str | None:
    value = block.get(name, "")
    if "\n" in value:
        value = _FOLDED.sub("", value[:1_000])
    return addresses.typed(decoded(value[:1_000]))[1] or None if value else None


def diagnostic_of(value: str) -> tuple[str, str]:
    """Type in lower case and text of a Diagnostic-Code field, "smtp; 550 5.1.1 ..."."""
    kind, semicolon, rest = value.partition(";")
    if semicolon and len(kind) < 40 and kind.strip() and _KIND.fullmatch(kind):
        return kind.strip().lower(), rest.strip()
    return "", value.strip()
