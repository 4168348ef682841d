"""Resend: sends a message that bounced softly again, unless its recipient is suppressed by now."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, replace
from email.parser import BytesHeaderParser
from email.utils import parseaddr
from typing import Any

import structlog
from sqlalchemy import Connection

from retour_courier.errors import DeliveryError
from retour_courier.leases import Batch
from retour_courier.outcomes import StoreWrite
from retour_courier.relay import Relay
from retour_policy.clock import Clock
from retour_policy.config.model import Config, Stream
from retour_policy.config.values import REFERENCE
from retour_policy.core.erased import kept_of_erased
from retour_policy.core.hook_events import Event
from retour_policy.core.suppression import Suppression
from retour_policy.ledger.accounts import lock
from retour_policy.messages.signer import Signer
from retour_policy.outbox.announcer import Announcer, report_data
from retour_policy.outbox.spool import Spool
from retour_policy.sanitize import clean
from retour_policy.store import addresses, facts, sends, suppressions
from retour_policy.store.addresses import Address
from retour_policy.store.database import Store
from retour_policy.store.facts import NewFact
from retour_policy.store.outbox import Item
from retour_policy.store.sends import Send

_REFERENCE = re.compile(rb"^" + REFERENCE.encode() + rb":[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)

log = structlog.get_logger()


@dataclass(frozen=True)
class ResendJob:
    """A message that is to be sent again, with its records in the store."""

    send: Send
    stream: Stream
    max_attempts: int
    address: Address
    text: str
    suppression: Suppression | None
    """The suppression that forbids it, if any."""


@dataclass(frozen=True)
class ResendCarrier:
    """Sends resends through the relay of their stream."""

    config: Config
    store: Store
    signer: Signer
    clock: Clock
    relay: Relay

    @property
    def connections(self) -> int:
        """The connections of the relay."""
        return self.relay.connections

    async def carry(self, batch: Batch) -> StoreWrite | None:
        """Send it with the token of this resend, or withhold it. Raises `DeliveryError`."""
        (item,) = batch
        job = await asyncio.to_thread(self._find_job, item)
        if job.suppression:
            log.info("resend withheld", send=job.send.first, cause=job.suppression.words())
            return lambda connection: self._record(connection, job, "withheld")
        copy = await asyncio.to_thread(self._copy, job.send)
        sender = self._sender(job, copy)
        message = with_reference(copy, self.signer.reference(job.send.id), job.stream)
        await self.relay.send(sender, job.text, message)
        return lambda connection: self._record(connection, job, "resent")

    async def close(self) -> None:
        """The relay closes its connections."""

    def _find_job(self, item: Item) -> ResendJob:
        body = json.loads(item.body)
        with self.store.reading() as connection:
            send = sends.find(connection, int(body["send"]))
            if send is None or len(send.recipients) != 1:
                raise DeliveryError("the record of the send was deleted", temporary=False)
            (number, key), *_ = send.recipients.items()
            text = addresses.find_text(connection, number)
            stream = self.config.stream_named(send.stream)
            if text is None or stream is None:
                error = "the address was erased" if text is None else f"there is no stream {send.stream!r} any more"
                raise DeliveryError(error, temporary=False)
            now, transactional = self.clock(), stream.transactional
            suppression = suppressions.find_in_force(connection, key, stream.name, now, transactional=transactional)
        return ResendJob(send, stream, body["of"], Address(number, key), text, suppression)

    def _copy(self, send: Send) -> bytes:
        try:
            return Spool(self.config.spool.dir).get(send.spool or "")
        except FileNotFoundError as error:
            # Where several hosts share the store but not the folder, the next to try may be the one that has it.
            raise DeliveryError(f"no copy to send again: {error}", temporary=self.store.is_shared) from error
        except OSError as error:
            raise DeliveryError(f"no copy to send again: {error}", temporary=False) from error

    def _sender(self, job: ResendJob, copy: bytes) -> str:
        stream = job.stream
        if stream.pattern:
            return self.signer.envelope_sender(stream, job.send.id)
        if stream.envelope_from == "header-from":
            return parseaddr(str(BytesHeaderParser().parsebytes(copy).get("From", "")))[1] or job.send.sender
        return stream.static_sender or job.send.sender

    def _record(self, connection: Connection, job: ResendJob, kind: str) -> None:
        """The fact, and for a resend the event. A recipient who was erased meanwhile is not named again."""
        send, to = job.send, job.address
        lock(connection, to)  # an erasure by another host ends before this, or begins after it and finds it
        erased = addresses.is_erased(connection, to.id)
        detail = _detail(job)
        known = kept_of_erased(detail) if erased else detail
        new = NewFact(self.clock(), kind, to.id, send.first, send.stream, detail=known)
        number = facts.write(connection, new)
        if kind == "resent":
            data = report_data(None if erased else job.text, new, "")
            data = replace(data, message_id=None if erased else send.message_id)
            Announcer.of(self.config).tell(connection, Event("resent", new.at, data, to.id), number)


def _detail(job: ResendJob) -> dict[str, Any]:
    cause = clean(job.suppression.words()) if job.suppression else None
    values = {"tag": job.send.tag, "resend": job.send.attempt, "of": job.max_attempts, "cause": cause}
    return {name: value for name, value in values.items() if value}


def with_reference(copy: bytes, reference: str, stream: Stream) -> bytes:
    """The copy with the Retour-Ref of this resend in place of the first one's. Line ends become CRLF."""
    whole = re.sub(rb"\r?\n", b"\r\n", copy)
    head, empty, body = whole.partition(b"\r\n\r\n")
    head = _REFERENCE.sub(b"", head + b"\r\n")
    if stream.headers is not False:
        head += f"{REFERENCE}: {reference}\r\n".encode()
    return head + (empty[2:] or b"\r\n") + body
