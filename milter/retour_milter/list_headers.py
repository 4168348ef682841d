"""List headers: the fields by which recipients unsubscribe and complain, beside what the application wrote. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.header import Header as EncodedWords

from retour_milter.header_edits import UNFIT, HeaderEdit, Stamp, count, fill, removal, replacement
from retour_policy.config.model import Stream

UNSUBSCRIBE, POST = "List-Unsubscribe", "List-Unsubscribe-Post"
LIST_ID, FEEDBACK_ID = "List-Id", "Feedback-ID"
CFBL_ADDRESS, CFBL_FEEDBACK_ID = "CFBL-Address", "CFBL-Feedback-ID"
FIELDS = (UNSUBSCRIBE, POST, LIST_ID, FEEDBACK_ID, CFBL_ADDRESS, CFBL_FEEDBACK_ID)
"""All fields that this module writes; a DKIM signature has to cover each."""
ONE_CLICK = "List-Unsubscribe=One-Click"
"""RFC 8058 section 3.1."""
MAX_KEPT_CHARACTERS = 2_000  # of the application's own addresses, beside ours
_URI = re.compile(r"<\s*([^<>\s]{1,1000})\s*>")

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ListAddresses:
    """What the fields of one message hold that is made for it."""

    link: str | None = None
    """The https link by which its only recipient unsubscribes."""
    mailto: str | None = None
    """The mail address for the same; with several recipients it is for whichever of them writes."""
    feedback: str | None = None
    """The address that complaints are sent to."""
    feedback_token: str = ""


def list_edits(stream: Stream, headers: Headers, values: Mapping[str, str | None], addresses: ListAddresses) -> Stamp:
    """The edits to `headers` that the stream asks for, as it has what the application wrote kept, replaced, wrapped.

    `values` holds the placeholders of a Feedback-ID; where one is missing, the field is left off.
    """
    edits = [*_unsubscribe(stream, headers, addresses), *_cfbl(stream, headers, addresses)]
    if stream.list_id and _is_ours(stream, headers, LIST_ID):
        edits += replacement(headers, LIST_ID, _encoded_list_id(stream.list_id))
    left_off: tuple[str, ...] = ()
    if stream.feedback_id and _is_ours(stream, headers, FEEDBACK_ID):
        filled = fill(stream.feedback_id, values)
        if filled is None or UNFIT.search(filled) or not filled.isascii() or filled.count(":") > 3:
            left_off = (FEEDBACK_ID,)
        else:
            edits += replacement(headers, FEEDBACK_ID, filled)
    return Stamp(tuple(edits), left_off)


def _is_ours(stream: Stream, headers: Headers, *names: str) -> bool:
    """Whether we write these fields: nobody else has, or ours take their place."""
    return stream.existing == "replace" or not any(count(headers, name) for name in names)


def _unsubscribe(stream: Stream, headers: Headers, addresses: ListAddresses) -> Iterator[HeaderEdit]:
    by_mail = f"mailto:{addresses.mailto}?subject=unsubscribe" if addresses.mailto else None
    ours = [uri for uri in (addresses.link, by_mail) if uri]
    wraps = stream.existing == "wrap"
    if not ours or not (wraps or _is_ours(stream, headers, UNSUBSCRIBE, POST)):
        return
    theirs = list(_theirs(headers, one_link=addresses.link is not None)) if wraps else []
    yield from replacement(headers, UNSUBSCRIBE, ",\n\t".join(f"<{uri}>" for uri in (*ours, *theirs)))
    if addresses.link and stream.unsubscribe and stream.unsubscribe.post:
        yield from replacement(headers, POST, ONE_CLICK)
    elif not any(uri.lower().startswith("https:") for uri in theirs):
        yield from removal(headers, POST)  # one that came with the message is about a link that is not there any more


def _theirs(headers: Headers, *, one_link: bool) -> Iterator[str]:
    """The addresses that the application wrote. Beside a link of ours no other (RFC 8058 section 3.1)."""
    room = MAX_KEPT_CHARACTERS
    for name, value in headers:
        if name.lower() != UNSUBSCRIBE.lower():
            continue
        for uri in _URI.findall(value):
            room -= len(uri)
            fits = room >= 0 and uri.isascii() and not UNFIT.search(uri)
            if fits and not (one_link and uri.lower().startswith(("https:", "http:"))):
                yield uri


def _cfbl(stream: Stream, headers: Headers, addresses: ListAddresses) -> Iterator[HeaderEdit]:
    """RFC 9477 section 3: where complaints go, and which message they are about."""
    if stream.cfbl and addresses.feedback and _is_ours(stream, headers, CFBL_ADDRESS, CFBL_FEEDBACK_ID):
        yield from replacement(headers, CFBL_ADDRESS, f"{addresses.feedback}; report=arf")
        yield from replacement(headers, CFBL_FEEDBACK_ID, addresses.feedback_token)


def _encoded_list_id(list_id: str) -> str:
    """A List-Id whose name is in ASCII, with encoded words where it needs them (RFC 2047); its identifier is ASCII."""
    name, _, identifier = list_id.rpartition("<")
    name = name.strip()
    if not name.isascii():
        name = EncodedWords(name, "utf-8", maxlinelen=998).encode()
    return f"{name} <{identifier}".lstrip()
