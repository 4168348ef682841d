"""Decodings: a message with its encodings undone, whether or not its MIME structure can be read. Pure."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

MAX_DEPTH = 2  # encodings inside each other: a message in base64 within another one
MIN_RUN_CHARACTERS = 8  # base64 characters that could hold an address
_ENCODING = re.compile(rb"^[ \t>]*content-transfer-encoding:[ \t\r\n]*\"?([a-z0-9-]*+)", re.IGNORECASE | re.MULTILINE)
_SOFT_BREAK = re.compile(rb"=[ \t]*+\r?\n")  # RFC 2045 section 6.7: the next line may begin with the rest of a name
_GAP = re.compile(rb"(?<=\?=)[ \t\r\n]+(?==\?)")
_WORD = re.compile(rb"=\?[^?\s]{1,75}\?([bq])\?([^?\s]*)\?=", re.IGNORECASE)  # RFC 2047 section 2
# Lines of base64, possibly quoted. Possessive, so that no line is scanned twice.
_RUN = re.compile(rb"(?:^[ \t>]*+[A-Za-z0-9+/]*+={0,2}+[ \t]*+\r?+\n)++", re.MULTILINE)
_NO_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_BETWEEN = b"CgoK"  # three line ends


def readings(raw: bytes, depth: int = MAX_DEPTH) -> Iterator[bytes]:
    """`raw` itself, with quoted-printable line breaks joined, and every text that its encodings may contain.

    The time it takes grows with the length of `raw`, and with nothing else that a stranger can choose.
    """
    parts = list(_parts(raw))
    yield b"".join(part for part, _ in parts)
    if b"=?" in raw:
        yield _WORD.sub(_word, _GAP.sub(b"", raw))
    inner = [binascii.a2b_qp(part) for part, quoted in parts if quoted]
    inner += _base64(raw)
    for one in inner:
        if depth > 1:
            yield from readings(one, depth - 1)
        else:
            yield one


def _word(found: re.Match[bytes]) -> bytes:
    if found[1] in b"Qq":
        return binascii.a2b_qp(found[2], header=True)
    return _unpacked(found[2].translate(None, _NO_BASE64))


def _parts(raw: bytes) -> Iterator[tuple[bytes, bool]]:
    """The whole, cut where a field names an encoding. True: the part is quoted-printable, and its lines are joined."""
    fields = list(_ENCODING.finditer(raw))
    yield raw[: fields[0].end() if fields else None], False
    ends = [*(field.end() for field in fields[1:]), len(raw)]
    for field, end in zip(fields, ends, strict=False):
        quoted = field[1].lower() == b"quoted-printable"
        yield _SOFT_BREAK.sub(b"", raw[field.end() : end]) if quoted else raw[field.end() : end], quoted


def _base64(raw: bytes) -> list[bytes]:
    """Everything that looks like base64, decoded from each of the four places where a group may begin."""
    runs = (run[0].translate(None, _NO_BASE64) for run in _RUN.finditer(raw + b"\n"))
    packed = b"".join(run + b"A" * (-len(run) % 4) + _BETWEEN for run in runs if len(run) >= MIN_RUN_CHARACTERS)
    return [_unpacked(b"A" * shift + packed) for shift in range(4)] if packed else []


def _unpacked(packed: bytes) -> bytes:
    return binascii.a2b_base64(packed + b"A" * (-len(packed) % 4))
