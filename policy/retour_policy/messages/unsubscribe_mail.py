"""Unsubscribe mail: what somebody writes to the address by which they leave a stream.

It is believed by the token in that address, whatever else it says: mail programs write such messages for their users,
and some mark them as answered by program (Auto-Submitted, RFC 3834).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from email.utils import getaddresses

from sqlalchemy import Connection

from retour_bounces.report import Kind
from retour_policy.messages.unsubscribes import UnknownSubscription, UnsubscribeRecorder
from retour_policy.store.addresses import Address
from retour_policy.store.sends import Send

MAX_HEADER_OCTETS = 100_000
MAX_WRITERS = 5  # addresses that are tried as the writer's
_REPORTS = ("bounce", "delayed", "delivered", "relayed", "expanded", "complaint", "mdn")
"""What a mail server or a provider writes: nobody wants to leave by it."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to such an address."""

    at: int
    subscription: int | None
    """The number in its token."""
    send: Send | None
    """The send in its token, where that had several recipients."""
    sender: str
    """Its envelope sender, without <>."""
    raw: bytes
    kind: Kind | None
    """Of what was read; None: it could not be read."""


def leave(
    connection: Connection, recorder: UnsubscribeRecorder, letter: Letter, key_of: Callable[[str], bytes]
) -> bool | None:
    """Write that who wrote a letter leaves; False: they had already.

    None: it is for postmaster, because it is no such letter, or nobody knows whose it is.
    """
    if letter.kind in _REPORTS:
        return None
    if letter.subscription is not None:
        return _leave_own(connection, recorder, letter.subscription, letter.at)
    if letter.send is None:
        return None
    numbers = {key: number for number, key in letter.send.recipients.items()}
    writer = next((key for key in map(key_of, writers(letter.sender, letter.raw)) if key in numbers), None)
    if writer is None:
        return None
    address = Address(numbers[writer], writer)
    return recorder.leave(connection, address, letter.send.stream, "mail", "stream", letter.at, proof="corroborated")


def _leave_own(connection: Connection, recorder: UnsubscribeRecorder, number: int, at: int) -> bool | None:
    try:
        row = recorder.row(connection, number)
    except UnknownSubscription:
        return None
    return recorder.leave(connection, row.address, row.stream, "mail", "stream", at)


def writers(sender: str, raw: bytes) -> Iterator[str]:
    """The addresses that may be the writer's: the envelope sender, and those in From."""
    head = raw[:MAX_HEADER_OCTETS].replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    texts = [str(one) for one in BytesHeaderParser().parsebytes(head).get_all("From", [])]
    found = [sender, *(address for _, address in getaddresses(texts))]
    yield from (one for one in found[:MAX_WRITERS] if "@" in one)
