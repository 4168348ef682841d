"""Socketmap: answers Postfix (and Exim) whether an address takes mail, before the mail is queued.

The protocol of Postfix's socketmap_table(5): netstrings, a request "map key", an answer "OK ...", "NOTFOUND ",
"TEMP ..." or "PERM ...". The answer comes from the signature alone; the store is not asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import structlog

from retour_lmtpd.backend import Backend, Recipient
from retour_lmtpd.connections import TOO_MANY, Connections
from retour_policy.sanitize import clean

MAP = "bounce"
MAX_REQUEST_OCTETS = 10_000  # Postfix's own limit for an answer is 100,000
MAX_LENGTH_DIGITS = len(str(MAX_REQUEST_OCTETS))
MAX_ANSWERS_AT_ONCE = 20  # to one client, before other sessions have their turn

log = structlog.get_logger()


class SocketmapError(ValueError):
    """The input is not a valid request; the connection is closed."""


_LATER = b"TEMP try again later"


def answer(backend: Backend, request: bytes) -> bytes:
    """The answer to one request."""
    name, _, key = request.decode("utf-8", "surrogateescape").partition(" ")
    if name != MAP:
        return b"PERM no such map"
    found = backend.find_recipient(key)
    if isinstance(found, Recipient):
        return b"OK retour"
    if found.kind == "unknown":
        return b"NOTFOUND "
    if found.kind == "unknown key":
        log.warning("lookup deferred", address=clean(key), reason=found.reason)
        return b"TEMP signed with a key that is not here yet"
    log.warning("lookup refused", address=clean(key), reason=found.reason)
    return b"NOTFOUND "


def netstring(text: bytes) -> bytes:
    """`text` as a netstring."""
    return b"%d:%s," % (len(text), text)


def split(buffer: bytes) -> tuple[list[bytes], bytes]:
    """The whole netstrings at the beginning of `buffer`, and what is left. Raises `SocketmapError`."""
    found = []
    begin = 0
    while begin < len(buffer):
        colon = buffer.find(b":", begin, begin + MAX_LENGTH_DIGITS + 1)
        digits = buffer[begin : colon if colon >= 0 else begin + MAX_LENGTH_DIGITS + 1]
        if not digits.isdigit() or len(digits) > MAX_LENGTH_DIGITS or int(digits) > MAX_REQUEST_OCTETS:
            raise SocketmapError("not a netstring, or too long")
        end = colon + 1 + int(digits)
        if colon < 0 or end >= len(buffer):
            break
        if buffer[end : end + 1] != b",":
            raise SocketmapError("a netstring without the comma at its end")
        found.append(buffer[colon + 1 : end])
        begin = end + 1
    return found, buffer[begin:]


LATER = netstring(_LATER)


class Lookup(asyncio.Protocol):
    """One connection of a client; Postfix keeps it open."""

    def __init__(self, backend: Backend, connections: Connections) -> None:
        self._backend = backend
        self._connections = connections
        self._buffer = b""
        self._requests: deque[bytes] = deque()
        self._is_deaf = False
        """The client does not read its answers."""
        self._transport: asyncio.Transport
        self._idle_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client: refuse it if there are too many or it may not connect."""
        self._transport = cast(asyncio.Transport, transport)
        refusal = self._connections.enter(self, transport, self._backend.config.lmtpd)
        if refusal is None:
            self._await_request()
        elif refusal == TOO_MANY:
            self._transport.write(LATER)  # Postfix, which is about to ask, takes it for the answer
            self._transport.close()
        else:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """The client has disconnected."""
        self._connections.leave(self)
        if self._idle_timer:
            self._idle_timer.cancel()

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests, else answers would pile up."""
        self._is_deaf = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._is_deaf = False
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        try:
            requests, self._buffer = split(self._buffer + data)
        except SocketmapError as error:
            log.warning("lookup connection closed", reason=str(error))
            self._transport.close()
            return
        self._requests.extend(requests)
        self._await_request()
        self._go_on()

    def _go_on(self) -> None:
        """Answer some of the requests, and the others in later turns of the loop; only then take more."""
        if self._is_deaf or self._transport.is_closing():
            return
        turn = [self._requests.popleft() for _ in range(min(len(self._requests), MAX_ANSWERS_AT_ONCE))]
        self._transport.write(b"".join(netstring(self._answer(request)) for request in turn))
        if self._is_deaf:
            return
        if self._requests:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)
        else:
            self._transport.resume_reading()

    def wind_up(self) -> None:
        """The daemon is stopping."""
        self._transport.close()

    def _answer(self, request: bytes) -> bytes:
        try:
            return answer(self._backend, request)
        except Exception:
            log.exception("lookup failed")
            return _LATER

    def _await_request(self) -> None:
        """Close an idle connection; Postfix connects again when it has something to ask."""
        if self._idle_timer:
            self._idle_timer.cancel()
        timeout_s = self._backend.config.lmtpd.idle_timeout / 1000
        self._idle_timer = asyncio.get_running_loop().call_later(timeout_s, self._transport.abort)
