"""Forward room: how much is kept of a message for postmaster, so that a flood of them cannot fill the database."""

from __future__ import annotations

from sqlalchemy import Connection

from retour_policy.errors import TooMuchWaits
from retour_policy.outbox.queue import FORWARD
from retour_policy.store import outbox_backlog

UNMATCHED_FIELD = b"Retour-Unmatched: "
"""Begins what is put on top of a message that is forwarded, where Retour knows what it lacks to be matched."""
MAX_WHOLE_OCTETS = 16_000_000  # together: up to here messages are kept as they came
MAX_HEAD_OCTETS = 8_000  # of each that comes then
MAX_WAITING_FORWARDS = 5_000  # fifty digests


def kept(connection: Connection, raw: bytes) -> bytes:
    """What is kept of a message: all of it, or its beginning where much waits already or lies dead.

    Raises `TooMuchWaits`: then the mail server had better keep it.
    """
    waiting = outbox_backlog.count_waiting(connection, FORWARD, MAX_WAITING_FORWARDS)
    if waiting >= MAX_WAITING_FORWARDS:
        raise TooMuchWaits(f"{waiting} messages wait for postmaster; does the relay take them?")
    if len(raw) <= MAX_HEAD_OCTETS:
        return raw
    room = MAX_WHOLE_OCTETS - len(raw)
    if not outbox_backlog.holds_more(connection, FORWARD, room, MAX_WAITING_FORWARDS):
        return raw
    note = f"[Retour kept the first {MAX_HEAD_OCTETS} of {len(raw)} octets, because much waits to be forwarded]"
    return raw[:MAX_HEAD_OCTETS] + f"\r\n\r\n{note}\r\n".encode()
