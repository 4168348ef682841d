"""Parts: the header fields and MIME parts of a message, found by scanning; no tree, nothing decoded unread."""

from __future__ import annotations

import binascii
import re
from collections.abc import Set
from dataclasses import dataclass, field

from retour_bounces.message.charset import characters, loose

MAX_PARTS = 40
"""Parts looked at; a report has three, a mailing list or a gateway adds a few."""
MAX_DEPTH = 12
STATUS_KINDS = ("message/delivery-status", "message/global-delivery-status")
"""Content types of delivery-status fields (RFC 3464 section 2.1, RFC 6533 section 4)."""
PREAMBLE = "text/x-preamble"
"""Kind given to what stands before the first delimiter of a multipart."""
MAX_HEADER_OCTETS = 65_536
"""Octets of a header block that are read."""
MAX_SINGLE_FIELDS = 6
"""Fields that are looked for one by one; when more are asked for, the whole block is taken apart once."""
MAX_TEXT_OCTETS = 1_000_000
"""Octets of a text that are decoded."""
MAX_STATUS_OCTETS = 4_000_000
"""Octets of a part with fields that are decoded."""

_PARAMETER = re.compile(r';\s*([A-Za-z-]{1,40})(?:\*0?\*?)?\s*=\s*(?:"([^"\n]{0,300})"|([^\s;"]{1,300}))')
_DELIMITER = re.compile(rb"^--([^\n]{1,200}?)[ \t]*\n(?=content-[a-z-]{1,40}[ \t]*:)", re.IGNORECASE | re.MULTILINE)
_TYPE = re.compile(r"\s*([A-Za-z0-9.+-]{1,60}/[A-Za-z0-9.+*-]{1,80})")
_FIRST_FIELD = re.compile(rb"[A-Za-z-]{1,60}[ \t]*:")
_VALUE = re.compile(rb"[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)")
_FIELD = re.compile(rb"\n([!-9;-~]{1,80})" + _VALUE.pattern)
_FIRST_STATUS_FIELD = b"reporting-mta:"
_STATUS_FIELD = re.compile(
    rb"^(?:[a-z-]{6,13}-mta|[a-z-]{5,8}-recipient|action|status|diagnostic-code)[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
_RETURNED = {
    "text/rfc822-headers", "text/rfc822-header", "text/rfc822", "message/global-headers", "message/rfc822",
    "message/global", "message/partial",
}  # fmt: skip


class Header:
    """A header block whose fields are looked for only when they are asked for."""

    __slots__ = ("_asked", "_block", "_fields", "_lower")

    def __init__(self, block: bytes = b"") -> None:
        self._block = b"\n" + block[:MAX_HEADER_OCTETS]
        self._lower = b""
        self._fields: dict[bytes, list[bytes]] | None = None
        self._asked = 0

    def get(self, name: str, default: str = "") -> str:
        """The value of the first field `name` (lower case), folds kept as line breaks; `default` without one."""
        value = self._first(name)
        return default if value is None else loose(value.strip())

    def some(self, names: re.Pattern[bytes]) -> dict[str, str]:
        """The values of the first fields of those names (made by `named`) that are there."""
        found: dict[str, str] = {}
        for name, value in names.findall(self._block):
            found.setdefault(loose(name).lower(), loose(value.strip()))
        return found

    def every(self, name: str) -> list[str]:
        """The values of all fields `name`, at most 1,000."""
        return [loose(value.strip()) for value in self._all().get(name.encode(), [])[:1_000]]

    def text(self) -> str:
        """The whole block."""
        return loose(self._block[1:])

    def __contains__(self, name: str) -> bool:
        return self._first(name) is not None

    def mentions(self, words: tuple[bytes, ...]) -> bool:
        """Does one of these words (lower case) stand anywhere in it? Cheaper than to look for the fields."""
        lower = self._lower = self._lower or self._block.lower()
        return any(map(lower.__contains__, words))

    def holds_any(self, names: Set[bytes]) -> bool:
        """Is there a field of one of these names (lower case)?"""
        return not names.isdisjoint(self._all())

    def __bool__(self) -> bool:
        return len(self._block) > 1

    def _first(self, name: str) -> bytes | None:
        if self._fields is None and self._asked < MAX_SINGLE_FIELDS:
            self._asked += 1
            return self._found(f"\n{name}".encode())
        values = self._all().get(name.encode())
        return values[0] if values else None

    def _all(self) -> dict[bytes, list[bytes]]:
        if self._fields is None:
            self._fields = {}
            for name, value in _FIELD.findall(self._block):
                self._fields.setdefault(name.lower(), []).append(value)
        return self._fields

    def _found(self, start: bytes) -> bytes | None:
        """The value of the first field whose line begins so, without the others; spaces before the colon are
        forgiven."""
        lower = self._lower = self._lower or self._block.lower()
        at = lower.find(start)
        while at >= 0:
            if match := _VALUE.match(self._block, at + len(start)):
                return match[1]
            at = lower.find(start, at + 1)
        return None


def named(*names: str) -> re.Pattern[bytes]:
    """Finds the fields of these names in one pass; most lines are passed over by their first letter."""
    first = "".join({name[0] for name in names})
    return re.compile(f"\n(?=[{first}])({'|'.join(names)})".encode() + _VALUE.pattern, re.IGNORECASE)


@dataclass(slots=True)
class Part:
    """One leaf of a message, still encoded."""

    kind: str
    """Content type in lower case, without parameters."""
    fields: Header = field(default_factory=Header)
    body: bytes = b""
    whole: bool = True
    """False where the message ends inside the part, so that its last line may be cut."""
    content_type: str = ""
    """The field as it stands."""
    _parameters: dict[str, str] | None = None

    @property
    def is_returned(self) -> bool:
        """Is it (the header of) the message that came back?"""
        return self.kind in _RETURNED

    @property
    def begins_as_status(self) -> bool:
        """Does it hold delivery-status fields, whatever it is called?"""
        return self.body[:200].lstrip()[: len(_FIRST_STATUS_FIELD)].lower() == _FIRST_STATUS_FIELD

    @property
    def max_octets(self) -> int:
        """Octets that are decoded."""
        return MAX_STATUS_OCTETS if self.kind.startswith("message/") else MAX_TEXT_OCTETS

    @property
    def is_cut(self) -> bool:
        """Is it a text of which the end is not read?"""
        return len(self.body) > self.max_octets and not self.is_returned and self.kind.startswith(("text/", "message/"))

    @property
    def parameters(self) -> dict[str, str]:
        """Parameters of the content type by lower-case name; none where there is no type."""
        if self._parameters is None:
            self._parameters = _parameters_of(self.content_type[:4_000])
        return self._parameters

    def text(self) -> str:
        """The part's text: encodings undone, line ends as `\\n`; a last line that may be cut is left off."""
        raw, whole = self.body[: self.max_octets], self.whole and len(self.body) <= self.max_octets
        encoding = self.fields.get("content-transfer-encoding", "").strip().strip('"').lower()
        if encoding.startswith("base64"):
            raw = _base64(raw)
        elif encoding.startswith("quoted"):
            whole = whole and not raw.rstrip(b"\n").endswith(b"=")
            raw = binascii.a2b_qp(raw)
        if not whole and not raw.endswith(b"\n"):
            raw = raw[: raw.rfind(b"\n") + 1]
        if b"\r" in raw:
            raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return characters(raw, "" if raw.isascii() else self.parameters.get("charset", ""))


@dataclass(slots=True)
class Message:
    """A message's header and its leaves."""

    fields: Header
    kind: str
    parts: list[Part]
    report_type: str
    truncated: bool
    returned: Part | None
    """The part that holds (the header of) the message that came back."""

    def text_parts(self) -> list[Part]:
        """Leaves that people read, in order."""
        return [part for part in self.parts if part.kind.startswith("text/") and not part.is_returned]


def scan(data: bytes) -> Message:
    """Splits `data` into header fields and leaves; never raises, in time linear in its length."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    data = data.lstrip(b"\n \t") if data[:1] in (b"\n", b" ", b"\t") else data
    head, body = head_and_body(data)
    top = _typed(Header(head), body)
    whole = bool(body) or head.endswith(b"\n")
    if not whole:
        top.fields = Header(head[: head.rfind(b"\n") + 1])
    report_type = top.parameters.get("report-type", "").lower()
    parts, closed = _leaves(top)
    for part in parts:
        if part.kind in STATUS_KINDS and _is_mislabelled(part):
            part.kind = "text/plain"
    whole = whole and closed and not (len(data) > MAX_TEXT_OCTETS and any(part.is_cut for part in parts))
    returned = next((part for part in parts if part.is_returned and not part.begins_as_status), None)
    return Message(top.fields, top.kind, parts, report_type, not whole, returned)


def head_and_body(data: bytes) -> tuple[bytes, bytes]:
    """Header block and body of a message or part, at the first empty line."""
    if data[:1] == b"\n":
        return b"", data[1:]
    end = data.find(b"\n\n")
    if end < 0:
        return data[:MAX_HEADER_OCTETS], b""
    return data[: min(end + 1, MAX_HEADER_OCTETS)], data[end + 2 :]


def head_of(data: bytes, whole: bool = True) -> Header:
    """The header of a message that came back, empty lines before it forgiven; what `data` that is not whole may have
    lost the end of is left off."""
    start = len(data) - len(data.lstrip(b"\n")) if data[:1] == b"\n" else 0
    end = data.find(b"\n\n", start, start + MAX_HEADER_OCTETS)
    if end >= 0:
        return Header(data[start : end + 1])
    block = data[start : start + MAX_HEADER_OCTETS]
    return Header(block if whole and len(data) - start <= MAX_HEADER_OCTETS else _without_last_field(block))


def _without_last_field(block: bytes) -> bytes:
    lines = block.split(b"\n")
    while lines and lines[-1][:1] in (b"", b" ", b"\t"):
        lines.pop()
    return b"\n".join(lines[:-1])


def _typed(fields: Header, body: bytes, whole: bool = True) -> Part:
    """A part of the content type that its fields name; text/plain where there is none."""
    value = fields.get("content-type")
    match = _TYPE.match(value)
    return Part(match[1].lower() if match else "text/plain", fields, body, whole, value)


def _is_mislabelled(part: Part) -> bool:
    """Does a part that is called delivery-status hold no fields of it? Then its words are for people."""
    if part.begins_as_status or _STATUS_FIELD.search(part.body, 0, MAX_STATUS_OCTETS):
        return False
    return not part.fields.get("content-transfer-encoding").lower().startswith(("base64", "quoted"))


def _parameters_of(value: str) -> dict[str, str]:
    match = _TYPE.match(value) if ";" in value else None
    found: dict[str, str] = {}
    for name, quoted, bare in _PARAMETER.findall(value, match.end()) if match else ():
        found.setdefault(name.lower(), quoted or bare)
    return found


def _leaves(top: Part) -> tuple[list[Part], bool]:
    """All leaves in order, with what stands before the first delimiter, and whether the outermost closes."""
    if not top.kind.startswith("multipart/"):
        top.whole = top.body.endswith(b"\n") or not top.body
        return [top], True
    leaves: list[Part] = []
    closed_all = True
    stack: list[tuple[int, Part]] = [(0, top)]
    while stack and len(leaves) < MAX_PARTS:
        depth, part = stack.pop()
        if depth >= MAX_DEPTH or not part.kind.startswith("multipart/"):
            leaves.append(part)
            continue
        inner, closed = _split(part)
        closed_all = closed_all and (closed or depth > 0)
        stack.extend((depth + 1, one) for one in reversed(inner))
    return leaves, closed_all


def _split(part: Part) -> tuple[list[Part], bool]:
    """Parts of a multipart body; its boundary is guessed from the lines where the one named is not there."""
    body = b"\n" + part.body
    boundary = part.parameters.get("boundary", "")
    delimiter = b"\n--" + boundary.encode("utf-8", "replace")
    start = body.find(delimiter) if boundary else -1
    if start < 0 and (guess := _DELIMITER.search(part.body)):
        delimiter = b"\n--" + guess[1]
        start = body.find(delimiter)
    if start < 0:
        whole = part.whole and part.body.endswith(b"\n")
        return [Part("text/plain", Header(), part.body, whole=whole)], False
    found = [Part(PREAMBLE, Header(), body[1:start])] if body[:start].strip() else []
    while start >= 0 and len(found) < MAX_PARTS:
        begin = start + len(delimiter)
        end_of_line = body.find(b"\n", begin)
        if body[begin : begin + 2] == b"--":
            return found, True
        if end_of_line < 0:
            break
        start = body.find(delimiter, end_of_line)
        found.append(_part(body[end_of_line + 1 : start + 1 if start >= 0 else None], part.whole and start >= 0))
    return found, False


def _part(raw: bytes, whole: bool) -> Part:
    if _FIRST_FIELD.match(raw) is None:
        head, body = b"", raw.lstrip(b"\n")
    else:
        head, body = head_and_body(raw)
    return _typed(Header(head), body, whole)


def _base64(raw: bytes) -> bytes:
    raw = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
    raw = raw[: len(raw) - 1] if len(raw) % 4 == 1 else raw
    return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4))
