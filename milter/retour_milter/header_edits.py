"""Header edits: the changes to a message's header that its stream asks for. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.header import Header as EncodedWords
from typing import Any
from urllib.parse import quote

from retour_policy.config.model import Stream
from retour_policy.config.values import REFERENCE, TAG

MAX_TAG_CHARACTERS = 200
URI_FIELDS = frozenset(f"list-{name}" for name in ("help", "subscribe", "unsubscribe", "post", "owner", "archive"))
"""Fields that hold URIs (RFC 2369): what is filled in is percent-encoded there (RFC 3986 section 2.1)."""
STRUCTURED_FIELDS = URI_FIELDS | frozenset(
    [
        *("from", "sender", "reply-to", "to", "cc", "bcc", "message-id", "in-reply-to", "references", "date"),
        *("return-path", "received", "mime-version", "auto-submitted", "precedence", "errors-to"),
        *("list-id", "list-unsubscribe-post", "feedback-id", "cfbl-address", "cfbl-feedback-id", "x-csa-complaints"),
        *("disposition-notification-to", "authentication-results", "dkim-signature", "autocrypt"),
    ]
)
STRUCTURED_PREFIXES = ("resent-", "arc-", "bimi-", "content-")
"""In these encoded words have no place, or only in parts that nobody can tell here (RFC 2047 section 5)."""
_URI_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"  # besides letters, digits and -._ (RFC 3986 section 2)
_PLACEHOLDER = re.compile(r"{([a-z_]+)}")
UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""What cannot stand in a header field."""


@dataclass(frozen=True, slots=True)
class HeaderEdit:
    """One change: the field `name` gets `value` at its `place` (from 1; 0 adds one). An empty value removes it."""

    name: str
    place: int
    value: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """All changes, and the names of fields omitted because their value is not allowed in a header."""

    edits: tuple[HeaderEdit, ...]
    left_off: tuple[str, ...] = ()


def stamp(
    stream: Stream, headers: Sequence[tuple[str, str]], values: Mapping[str, str | None], reference: str | None
) -> Stamp:
    """The edits to `headers` (name and value, in order).

    `values` holds the placeholders; one that is None or missing leaves off the fields that use it.
    `reference` is the value of the Retour-Ref field, None for none; those that came with the message are removed.
    """
    edits = removal(headers, TAG)
    left_off = []
    for name, asked in _asked(stream).items():
        filled = fill(asked, _in_uri(values) if name.lower() in URI_FIELDS else values)
        if filled is None or UNFIT.search(filled) or not (filled.isascii() or _takes_encoded_words(name)):
            left_off.append(name)
        else:
            edits += _edit(headers, name, asked, filled)
    if reference is not None and stream.headers is not False:
        edits += replacement(headers, REFERENCE, reference)
    else:  # one that came with the message is about another send
        edits += removal(headers, REFERENCE)
    return Stamp(tuple(edits), tuple(left_off))


def removal(headers: Sequence[tuple[str, str]], name: str) -> list[HeaderEdit]:
    """The edits that remove every field of that name, the last one first, so that the places stay correct."""
    return [HeaderEdit(name, place, "") for place in range(count(headers, name), 0, -1)]


def edited(headers: Sequence[tuple[str, str]], edits: Sequence[HeaderEdit]) -> bytes:
    """The header after the edits, with the empty line after it."""
    fields: list[tuple[str, str] | None] = list(headers)
    for edit in edits:
        places = [n for n, one in enumerate(fields) if one and one[0].lower() == edit.name.lower()]
        new = (edit.name, edit.value) if edit.value else None
        if edit.place and edit.place <= len(places):
            fields[places[edit.place - 1]] = new
        else:
            fields.append(new)
    lines = [f"{name}: {value}" for one in fields if one for name, value in [one]]
    text = "".join(line.replace("\r\n", "\n").replace("\n", "\r\n") + "\r\n" for line in lines)
    return (text + "\r\n").encode("utf-8", "surrogateescape")


def tag_of(headers: Sequence[tuple[str, str]]) -> str | None:
    """The application's own reference, cut to `MAX_TAG_CHARACTERS`; None without one."""
    value = first(headers, TAG)
    return value.strip()[:MAX_TAG_CHARACTERS] if value and value.strip() else None


def first(headers: Sequence[tuple[str, str]], name: str) -> str | None:
    """The value of the first field of that name."""
    return next((value for field, value in headers if field.lower() == name.lower()), None)


def _asked(stream: Stream) -> dict[str, Any]:
    return stream.headers if stream.headers is not False else {}


def fill(asked: Any, values: Mapping[str, str | None]) -> str | None:
    """What is asked of a field, with its placeholders filled in.

    "" for a field to remove, None if a placeholder has no value.
    """
    text = next(iter(asked.values())) if isinstance(asked, dict) else asked
    if text is False:
        return ""
    if any(values.get(name) is None for name in _PLACEHOLDER.findall(text)):
        return None
    return _PLACEHOLDER.sub(lambda found: values[found[1]] or "", text)


def _in_uri(values: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name: _percent_encoded(value) if value else value for name, value in values.items()}


def _percent_encoded(text: str) -> str:
    return text if UNFIT.search(text) else quote(text, safe=_URI_CHARACTERS)  # what is unfit leaves the field off


def _takes_encoded_words(name: str) -> bool:
    folded = name.lower()
    structured = folded in STRUCTURED_FIELDS or folded.startswith(STRUCTURED_PREFIXES)
    return not structured or folded == "content-description"


def _edit(headers: Sequence[tuple[str, str]], name: str, asked: Any, filled: str) -> list[HeaderEdit]:
    if not filled:
        return removal(headers, name)
    if isinstance(asked, dict) and "add" in asked:
        return [HeaderEdit(name, 0, _encoded(filled))]
    if isinstance(asked, dict) and count(headers, name):
        return []
    return replacement(headers, name, _encoded(filled))


def replacement(headers: Sequence[tuple[str, str]], name: str, value: str) -> list[HeaderEdit]:
    """One field of that name with that value: the first one changed, the others removed, or a new one."""
    there = removal(headers, name)
    return [*there[:-1], HeaderEdit(name, 1, value)] if there else [HeaderEdit(name, 0, value)]


def _encoded(text: str) -> str:
    """The text as ASCII, with encoded words (RFC 2047) where it needs them."""
    return text if text.isascii() else EncodedWords(text, "utf-8", maxlinelen=998).encode()


def count(headers: Sequence[tuple[str, str]], name: str) -> int:
    """How many fields of that name there are."""
    return sum(field.lower() == name.lower() for field, _ in headers)
