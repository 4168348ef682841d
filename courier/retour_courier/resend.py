"""Resend: sends a message that had bounced softly once more, unless its recipient may have none any more."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, replace
from email.parser import BytesHeaderParser
from email.utils import parseaddr
from typing import Any

import structlog
from sqlalchemy import Connection, select

from retour_courier.errors import DeliveryError
from retour_courier.leases import Parcel, Work
from retour_courier.relay import Relay
from retour_policy.clock import Clock
from retour_policy.config.model import Config, Stream
from retour_policy.core.erased import kept_of_erased
from retour_policy.core.hook_events import Event
from retour_policy.core.suppression import Suppression
from retour_policy.ledger.accounts import lock
from retour_policy.messages.router import REFERENCE, Signer
from retour_policy.outbox.announcer import Announcer, report_data
from retour_policy.outbox.queue import Item
from retour_policy.outbox.spool import Spool
from retour_policy.sanitize import clean
from retour_policy.store import addresses, facts, schema, sends, suppressions
from retour_policy.store.addresses import Address
from retour_policy.store.database import Store
from retour_policy.store.facts import NewFact
from retour_policy.store.sends import Send

_REFERENCE = re.compile(rb"^" + REFERENCE.encode() + rb":[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)

log = structlog.get_logger()


@dataclass(frozen=True)
class ResendJob:
    """A message that is to be sent again, and how the store knows it."""

    send: Send
    stream: Stream
    of: int
    address: Address
    text: str
    suppression: Suppression | None
    """Why it must not be, if so."""


@dataclass(frozen=True)
class ResendCarrier:
    """Carries resends to the relay of their stream."""

    config: Config
    store: Store
    signer: Signer
    clock: Clock
    relay: Relay

    @property
    def connections(self) -> int:
        """Those of the relay."""
        return self.relay.connections

    async def carry(self, parcel: Parcel) -> Work | None:
        """Send it with the token of this resend, or leave it. Raises `DeliveryError`."""
        (item,) = parcel
        again = await asyncio.to_thread(self._look_up, item)
        if again.suppression:
            log.info("not resent", send=again.send.first, cause=again.suppression.words())
            return lambda connection: self._note(connection, again, "withheld")
        copy = await asyncio.to_thread(self._copy, again.send)
        sender = self._sender(again, copy)
        message = referring(copy, self.signer.reference(again.send.id), again.stream)
        await self.relay.send(sender, again.text, message)
        return lambda connection: self._note(connection, again, "resent")

    async def close(self) -> None:
        """The relay closes its connections."""

    def _look_up(self, item: Item) -> ResendJob:
        body = json.loads(item.body)
        with self.store.reading() as connection:
            send = sends.find(connection, int(body["send"]))
            if send is None or len(send.recipients) != 1:
                raise DeliveryError("the record of the send is gone", temporary=False)
            (number, key), *_ = send.recipients.items()
            text = connection.scalar(select(schema.address.c.text).where(schema.address.c.id == number))
            stream = self.config.stream_named(send.stream)
            if text is None or stream is None:
                what = "the address was forgotten" if text is None else f"there is no stream {send.stream!r} any more"
                raise DeliveryError(what, temporary=False)
            now, transactional = self.clock(), stream.transactional
            found = suppressions.find_in_force(connection, key, stream.name, now, transactional=transactional)
        return ResendJob(send, stream, body["of"], Address(number, key), text, found)

    def _copy(self, send: Send) -> bytes:
        try:
            return Spool(self.config.spool.dir).get(send.spool or "")
        except OSError as error:
            raise DeliveryError(f"no copy to send again: {error}", temporary=False) from error

    def _sender(self, again: ResendJob, copy: bytes) -> str:
        stream = again.stream
        if stream.pattern:
            return self.signer.envelope_sender(stream, again.send.id)
        if stream.envelope_from == "header-from":
            return parseaddr(str(BytesHeaderParser().parsebytes(copy).get("From", "")))[1] or again.send.sender
        return stream.static_sender or again.send.sender

    def _note(self, connection: Connection, again: ResendJob, kind: str) -> None:
        """The fact, and for a resend the event. Who was erased since it was looked up is not named again."""
        send, to = again.send, again.address
        lock(connection, to)  # an erasure by another host is over then, or comes after this and finds it
        erased = addresses.is_erased(connection, to.id)
        detail = _detail(again)
        known = kept_of_erased(detail) if erased else detail
        new = NewFact(self.clock(), kind, to.id, send.first, send.stream, detail=known)
        number = facts.write(connection, new)
        if kind == "resent":
            data = report_data(None if erased else again.text, new, "")
            data = replace(data, message_id=None if erased else send.message_id)
            Announcer.of(self.config).tell(connection, Event("resent", new.at, data, to.id), number)


def _detail(again: ResendJob) -> dict[str, Any]:
    cause = clean(again.suppression.words()) if again.suppression else None
    values = {"tag": again.send.tag, "resend": again.send.attempt, "of": again.of, "cause": cause}
    return {name: value for name, value in values.items() if value}


def referring(copy: bytes, reference: str, stream: Stream) -> bytes:
    """The copy with the reference of this resend in place of the first's. Line ends become CRLF."""
    whole = re.sub(rb"\r?\n", b"\r\n", copy)
    head, empty, body = whole.partition(b"\r\n\r\n")
    head = _REFERENCE.sub(b"", head + b"\r\n")
    if stream.headers is not False:
        head += f"{REFERENCE}: {reference}\r\n".encode()
    return head + (empty[2:] or b"\r\n") + body
