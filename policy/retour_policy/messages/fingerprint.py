"""Fingerprint: a hash that recognises a returned message when it comes again. Pure."""

from __future__ import annotations

import hashlib
import re

MAX_HEADER_OCTETS = 1_000_000  # a longer header is treated as body
_TRACE_FIELDS = (b"received:", b"return-path:", b"delivered-to:", b"x-original-to:")
_FIELD = re.compile(rb"[^\n]+\n?(?:[ \t][^\n]*\n?)*")


class Fingerprint:
    """Hashes a message as it comes in. The header is collected to its end; the body is hashed at once."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._body = hashlib.sha256()
        self._in_body = False

    @classmethod
    def of_file(cls, raw: bytes) -> bytes:
        """The fingerprint of a message in a file: the same as if it had come over the wire."""
        fingerprint = cls()
        wire = b"\r\n" + re.sub(rb"\r?\n", b"\r\n", raw).replace(b"\r\n.", b"\r\n..")
        fingerprint.update(wire if wire.endswith(b"\r\n") else wire + b"\r\n")
        return fingerprint.digest()

    def update(self, data: bytes) -> None:
        """Take a chunk of the message as it goes over the wire: CRLF, dots stuffed, an empty line before it."""
        if self._in_body:
            self._body.update(data)
            return
        seen = max(0, len(self._header) - 3)
        self._header += data
        end = self._header.find(b"\r\n\r\n", seen)
        if end < 0 and len(self._header) > MAX_HEADER_OCTETS:
            end = len(self._header)
        if end >= 0:
            self._in_body = True
            self._body.update(self._header[end:])
            del self._header[end:]

    def digest(self) -> bytes:
        """32 octets, once all is taken."""
        fields = _FIELD.findall(bytes(self._header).lstrip(b"\r\n"))
        kept = b"".join(field for field in fields if not field.lower().startswith(_TRACE_FIELDS))
        return hashlib.sha256(kept.rstrip(b"\r\n") + b"\0" + self._body.digest()).digest()
