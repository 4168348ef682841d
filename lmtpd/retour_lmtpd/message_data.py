"""Message data: receives a message of any size as it comes over the wire, and keeps the parts that are read. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

MAX_HEAD_OCTETS = 1_000_000  # kept from the beginning
MAX_TAIL_OCTETS = 64_000  # kept from the end, where reports return the original header
MAX_LINE_OCTETS = 65_536
_END = b"\r\n.\r\n"
_START = b"\r\n"  # as after a line end, so that a dot in the first line is found
_LONG_LINES = re.compile(rb"^([^\n]{%d})[^\n]+" % MAX_LINE_OCTETS, re.M)


@dataclass(frozen=True, slots=True)
class MessageData:
    """A message as it was kept, dots unstuffed."""

    raw: bytes
    size: int
    """Octets that came over the wire."""
    truncated: bool
    fingerprint: bytes
    """Hash of the header without trace fields and of the whole body; it recognises the message when it comes again."""


class Digest(Protocol):
    """A hash that is fed with a message as it comes in."""

    def update(self, data: bytes) -> None:
        """Take the next octets as they came over the wire."""

    def digest(self) -> bytes:
        """The hash of all of them."""


class DataReader:
    """Fed with chunks as they come; memory stays under twice the head, three times the tail and a chunk."""

    def __init__(self, fingerprint: Digest) -> None:
        self._carry = _START
        self._size = -len(_START)
        self._head = bytearray()
        self._tail = bytearray()
        self._fingerprint = fingerprint

    def feed(self, chunk: bytes) -> bytes | None:
        """Take `chunk`. None while the message goes on, else what came after its end: further commands."""
        data = self._carry + chunk
        end = data.find(_END)
        if end < 0:
            keep = len(_END) - 1
            self._take(data[:-keep])
            self._carry = data[-keep:]
            return None
        self._take(data[: end + 2])
        self._carry = b""
        return data[end + len(_END) :]

    def message(self) -> MessageData:
        """The message, once `feed` has seen its end."""
        head, tail = bytes(self._head), bytes(self._tail[-MAX_TAIL_OCTETS:])
        cut = self._size + len(_START) > len(head) + len(tail)
        if cut:  # at line ends, else half an address could look like a whole one
            head = head[: head.rfind(b"\n") + 1]
            tail = tail[tail.find(b"\n") + 1 :]
        joined = (head + tail).replace(b"\r\n.", b"\r\n")[len(_START) :]
        raw = _LONG_LINES.sub(rb"\1", joined)
        return MessageData(raw, self._size, cut or len(raw) != len(joined), self._fingerprint.digest())

    def _take(self, data: bytes) -> None:
        self._size += len(data)
        self._fingerprint.update(data)
        room = MAX_HEAD_OCTETS + len(_START) - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail += data
            if len(self._tail) > 2 * MAX_TAIL_OCTETS:
                del self._tail[:-MAX_TAIL_OCTETS]
