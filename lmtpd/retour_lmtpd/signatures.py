"""Signatures: verifies a message's DKIM signatures, where the mail server's own verifier is not asked."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

import dkim

LookUp = Callable[[bytes, int], bytes | None]
"""The TXT record of a name, asked within so many seconds; None: there is none."""
MAX_SIGNATURES = 5  # of a message that are verified
MAX_OCTETS = 1_000_000  # of a message that is verified
MAX_TIME_S = 10.0  # for all of a message, DNS included
DNS_TIMEOUT_S = 3
MIN_RSA_BITS = 1024  # RFC 8301 section 3.2
_FIELD = re.compile(rb"^dkim-signature[ \t]*:", re.IGNORECASE | re.MULTILINE)


async def signers(message: bytes, look_up: LookUp | None = None) -> tuple[str, ...]:
    """The domains whose signatures of a message are valid; none where that cannot be found out in `MAX_TIME_S`.

    In a thread, because it asks the DNS; `look_up` asks another one.
    """
    try:
        async with asyncio.timeout(MAX_TIME_S):
            return await asyncio.to_thread(_signers, message, look_up)
    except TimeoutError:
        return ()


def _signers(message: bytes, look_up: LookUp | None) -> tuple[str, ...]:
    head = message.partition(b"\r\n\r\n")[0]
    count = min(len(_FIELD.findall(head)), MAX_SIGNATURES)
    if not count or len(message) > MAX_OCTETS:
        return ()
    end, found = time.monotonic() + MAX_TIME_S, list[str]()
    verifier = dkim.DKIM(message, minkey=MIN_RSA_BITS, timeout=DNS_TIMEOUT_S)
    for number in range(count):
        if time.monotonic() > end:
            break
        if _is_valid(verifier, number, look_up):
            found.append(verifier.domain.decode("ascii", "replace").lower())
    return tuple(dict.fromkeys(found))


def _is_valid(verifier: dkim.DKIM, number: int, look_up: LookUp | None) -> bool:
    asked = {} if look_up is None else {"dnsfunc": look_up}
    try:
        return bool(verifier.verify(idx=number, **asked)) and b"l" not in verifier.signature_fields
    except Exception:  # dkimpy raises what its own checks, the DNS or the octets make it raise
        return False
