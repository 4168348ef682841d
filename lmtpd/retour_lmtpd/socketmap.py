"""Socketmap: answers Postfix (and Exim) whether an address is one of ours, before the mail is queued.

The protocol of Postfix's socketmap_table(5): netstrings, a request "map key", an answer "OK ...", "NOTFOUND ",
"TEMP ..." or "PERM ...". The answer comes from the signature alone; the store is not asked.
"""

from __future__ import annotations

import asyncio
from typing import cast

import structlog

from retour_lmtpd.reception import Reception
from retour_policy import token
from retour_policy.clean import clean
from retour_policy.route import UnknownAddress

MAP = "bounce"
LONGEST = 10_000  # octets of a request; Postfix's own limit for an answer is 100,000
MOST_PENDING = 4 * LONGEST

log = structlog.get_logger()


class SocketmapError(ValueError):
    """What came is not the protocol; the connection is closed."""


def answer(reception: Reception, request: bytes) -> bytes:
    """The answer to one request."""
    name, _, key = request.decode("utf-8", "surrogateescape").partition(" ")
    if name != MAP:
        return b"PERM no such map"
    try:
        reception.router.route(key)
    except UnknownAddress:
        return b"NOTFOUND "
    except token.UnknownKey as error:
        log.warning("look-up put off", address=clean(key), reason=error.reason)
        return b"TEMP signed with a key that is not here yet"
    except token.TokenError as error:
        log.warning("look-up refused", address=clean(key), reason=error.reason)
        return b"NOTFOUND "
    return b"OK retour"


def netstring(text: bytes) -> bytes:
    """`text` as a netstring."""
    return b"%d:%s," % (len(text), text)


def split(buffer: bytes) -> tuple[list[bytes], bytes]:
    """The whole netstrings at the beginning of `buffer`, and what is left. Raises `SocketmapError`."""
    found = []
    while buffer:
        digits, colon, rest = buffer.partition(b":")
        if not digits.isdigit() or len(digits) > 5 or int(digits) > LONGEST:
            if digits.isdigit() and not colon and len(digits) <= 5:
                break
            raise SocketmapError("not a netstring, or too long a one")
        length = int(digits)
        if not colon or len(rest) <= length:
            break
        if rest[length : length + 1] != b",":
            raise SocketmapError("a netstring without its comma")
        found.append(rest[:length])
        buffer = rest[length + 1 :]
    return found, buffer


class Lookup(asyncio.Protocol):
    """One connection of a process that asks; Postfix keeps it open."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        if self._transport is None:
            return
        try:
            requests, self._buffer = split(self._buffer + data)
            answers = b"".join(netstring(answer(self._reception, request)) for request in requests)
        except SocketmapError as error:
            log.warning("look-up connection closed", reason=str(error))
            self._transport.close()
            return
        except Exception:
            log.exception("look-up failed")
            answers = netstring(b"TEMP try again later")
        self._transport.write(answers)
