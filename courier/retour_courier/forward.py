"""Forward: the message in which postmaster gets returned mail that nothing matches. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime

LOOP_GUARD = "Retour-Forwarded"
_WORDS = """\
Retour could not lay this returned message to any mail that went out,
or it was written to a role address of a bounce domain. It is attached
as it came. `retour explain` tells what is in it.
"""


def compose(original: bytes, target: str, now: int, number: int) -> bytes:
    """A message to `target` that holds `original` as message/rfc822.

    `now` is in milliseconds; `number` makes the Message-ID the same at every try.
    """
    domain = target.rpartition("@")[2]
    boundary = _boundary(original, number)
    date = format_datetime(datetime.fromtimestamp(now // 1000, UTC))
    header = (
        f"From: Retour <{target}>\r\n"
        f"To: {target}\r\n"
        "Subject: Returned mail that nothing matches\r\n"
        f"Date: {date}\r\n"
        f"Message-ID: <retour-forward-{number}-{now}@{domain}>\r\n"
        "Auto-Submitted: auto-generated\r\n"
        f"{LOOP_GUARD}: {number}\r\n"
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n'
    )
    words = _WORDS.replace("\n", "\r\n")
    text = f"\r\n--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{words}"
    encoding = "7bit" if original.isascii() else "8bit"
    attached = (
        f"\r\n--{boundary}\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: {encoding}\r\n"
        "Content-Disposition: attachment; filename=returned.eml\r\n\r\n"
    )
    body = re.sub(rb"\r?\n", b"\r\n", original).replace(b"\0", b"")
    return (header + text + attached).encode("utf-8") + body + f"\r\n--{boundary}--\r\n".encode()


def _boundary(original: bytes, number: int) -> str:
    """A boundary that does not occur in the message."""
    boundary = f"retour-{number}"
    while boundary.encode() in original:
        boundary += "-x"
    return boundary
