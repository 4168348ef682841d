"""Forward: sends unmatched mail to postmaster, one by one or as a digest."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

from retour_courier.leases import Batch
from retour_courier.outcomes import StoreWrite
from retour_courier.relay import Relay
from retour_policy.messages.signer import LOOP_GUARD
from retour_policy.store.outbox import Item

_TEXT = """\
Retour could not match this message to anything that was sent, or it
was written to a role address of a bounce domain. It is attached as it
came. `retour explain` tells what is in it. Where Retour knows what it
lacks, a field Retour-Unmatched at its top says so.
"""
_DIGEST_TEXT = """\
Retour could not match these {count} messages to anything that was sent, or
they were written to role addresses of bounce domains. They came faster
than [forward] in the configuration lets them pass one by one, so they
are all attached here, as they came, the oldest first. Where Retour knows
what one lacks, a field Retour-Unmatched at its top says so.
"""


class ForwardCarrier:
    """Sends forwards through their relay."""

    def __init__(self, relay: Relay, guard: Callable[[], str]) -> None:
        self._relay = relay
        self._guard = guard
        self.connections = relay.connections

    async def carry(self, batch: Batch) -> StoreWrite | None:
        """Send one message with all of the batch, from the null sender, to postmaster alone.

        Raises `DeliveryError`.
        """
        await self._relay.send("", batch[0].target, compose(batch, self._guard()))
        return None

    async def close(self) -> None:
        """The relay closes its connections."""


def compose(items: Sequence[Item], guard: str) -> bytes:
    """A message with every original as message/rfc822. Its Message-ID is the same at every try of the same items."""
    target, first = items[0].target, items[0]
    domain = target.rpartition("@")[2]
    boundary = _boundary(items)
    count = len(items)
    subject = "Returned mail that could not be matched" + (f": {count} messages" if count > 1 else "")
    number = f"{first.uid}-{count}" if count > 1 else first.uid
    date = format_datetime(datetime.fromtimestamp(first.at // 1000, UTC))
    header = (
        f"From: Retour <{target}>\r\n"
        f"To: {target}\r\n"
        f"Subject: {subject}\r\n"
        f"Date: {date}\r\n"
        f"Message-ID: <retour-forward-{number}@{domain}>\r\n"
        "Auto-Submitted: auto-generated\r\n"
        f"{LOOP_GUARD}: {guard}\r\n"
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n'
    )
    explanation = (_TEXT if count == 1 else _DIGEST_TEXT.format(count=count)).replace("\n", "\r\n")
    text = f"\r\n--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{explanation}"
    parts = b"".join(_part(item.body, boundary) for item in items)
    return (header + text).encode("utf-8") + parts + f"\r\n--{boundary}--\r\n".encode()


def _part(original: bytes, boundary: str) -> bytes:
    encoding = "7bit" if original.isascii() else "8bit"
    header = (
        f"\r\n--{boundary}\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: {encoding}\r\n"
        "Content-Disposition: attachment; filename=returned.eml\r\n\r\n"
    )
    return header.encode() + re.sub(rb"\r?\n", b"\r\n", original).replace(b"\0", b"")


def _boundary(items: Sequence[Item]) -> str:
    """A boundary that does not occur in any of the messages."""
    boundary = f"retour-{items[0].uid}"
    while any(boundary.encode() in item.body for item in items):
        boundary += "-x"
    return boundary
