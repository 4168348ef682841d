"""Session: what the milter answers to each step of one client, without any milter library."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from email.utils import formatdate

import structlog

from retour_milter.answers import (
    DISCARD,
    PASS,
    SECOND_RECIPIENT,
    STORE_IS_DOWN,
    Answer,
    Discard,
    Edits,
    Reply,
    refusal,
)
from retour_milter.backend import Backend, EarlierSend, RecordedSend
from retour_milter.header_edits import edited, first, removal, stamp, tag_of
from retour_milter.list_headers import list_edits
from retour_milter.match import Found, Origin, find_stream
from retour_milter.message import Message
from retour_milter.recipients import Recipient, RecipientEdits, edits_of
from retour_milter.under_way import is_same_message, references, sender_of
from retour_policy import networks
from retour_policy.address import domain_of, mailbox
from retour_policy.config.model import Stream
from retour_policy.config.values import TAG
from retour_policy.core.suppression import Suppression
from retour_policy.errors import StoreUnavailable
from retour_policy.sanitize import clean

MAX_HEADER_CHARACTERS = 1_000_000  # that are kept of a header; the rest of a longer one is ignored

log = structlog.get_logger()


class Session:
    """One client's connection. A message of no stream passes at once (`mail` gives `PASS`)."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._client: str | None = None
        self._by_sendmail = False
        self._message: Message | None = None
        self.can_add = False
        """Whether the mail server adds recipients with ESMTP parameters for us."""

    def connect(self, client: str | None, port: int) -> None:
        """Keep the client. Postfix shows mail from sendmail(1) as from 127.0.0.1, port 0, which no client can have."""
        self._client = client
        self._by_sendmail = client == "127.0.0.1" and port == 0

    def mail(self, sender: str, login: str | None) -> Answer | None:
        """A message begins. `PASS`: ask no more about it; None: go on."""
        self._message = None
        settings = self._backend.settings
        by_sendmail = self._by_sendmail and not sender.startswith("<")
        address = mailbox(sender)
        served = login or by_sendmail or networks.contain(settings.config.milter.trusted, self._client)
        if not served or not address:
            return PASS
        origin = Origin(None if by_sendmail else self._client, login, address)
        message = Message(settings, origin, by_sendmail, find_stream(settings.config.stream, origin, None))
        try:
            self._know_by_sender(message)
        except StoreUnavailable as error:
            return self._without_store(message, error)
        if message.found.decided and message.found.stream is None:
            return PASS
        self._message = message
        return None

    def _know_by_sender(self, message: Message) -> None:
        """Of a message whose sender is a VERP address of ours: the send and its stream. Raises `StoreUnavailable`."""
        route = message.settings.router.verp(message.origin.sender)
        if route is None or route.send is None:
            return
        earlier = self._backend.find_send(route.send)
        stream = message.settings.config.stream_named(earlier.stream if earlier else route.stream or "")
        message.earlier, message.token_stream = earlier, stream
        if earlier or (message.found.decided and message.found.stream is None):
            message.found = Found(stream)

    def rcpt(self, spelling: str, resolved: str | None = None, options: Sequence[str] = ()) -> Reply | None:
        """A recipient, what the mail server makes of it, and its ESMTP parameters; an answer refuses it alone."""
        message = self._message
        if message is None:
            return None
        recipient = Recipient.of(spelling, resolved, options)
        answer = self._refusal(message, recipient)
        if answer is None:
            message.recipients.append(recipient)
        return answer

    def header(self, name: str, value: str) -> None:
        """A header field."""
        message = self._message
        if message is not None and message.header_size < MAX_HEADER_CHARACTERS:
            message.header_size += len(name) + len(value)
            message.headers.append((name, value))

    def body(self, part: bytes) -> bool:
        """A part of the body; whether to send more. Only a message that may be sent again is kept."""
        message = self._message
        if message is None or message.body is None:
            return False
        message.body_size += len(part)
        if not self._may_be_resent(message):
            message.body = None
            return False
        message.body.append(part)
        return True

    def _may_be_resent(self, message: Message) -> bool:
        found = message.final_stream
        size = message.header_size + message.body_size
        return bool(found and found.retry and len(message.recipients) == 1 and size <= found.max_size)

    def end(self, queue_id: str | None, *, with_body: bool = False) -> Answer:
        """The message is complete. Its send record is durable when this returns, and so is the copy of one that
        may be sent again (`with_body`: its body was asked for).
        """
        message, self._message = self._message, None
        if message is None:
            return PASS
        message.queue_id = queue_id
        if not with_body or not self._may_be_resent(message):
            message.body = None
        stream = message.final_stream
        if stream is None:
            return PASS
        try:
            if message.earlier:
                return self._let_go(message, stream, message.earlier)
            return PASS if self._is_under_way(message) else self._finish(message, stream)
        except StoreUnavailable as error:
            return self._without_store(message, error)

    def abort(self) -> None:
        """The message was aborted."""
        self._message = None

    def _refusal(self, message: Message, recipient: Recipient) -> Reply | None:
        stream = message.found.stream
        if stream is None or message.by_sendmail or (message.earlier and message.earlier.holds(recipient.address)):
            return None
        if stream.multi_recipient == "refuse" and message.recipients and not message.earlier:
            return SECOND_RECIPIENT
        if stream.suppressed != "refuse":
            return None
        try:
            found = self._backend.suppressed(stream, recipient.address)
        except StoreUnavailable as error:
            log.error("store is down at RCPT", queue_id=None, error=str(error), stream=stream.name)
            return STORE_IS_DOWN if message.settings.config.milter.on_store_failure == "tempfail" else None
        if found is None or found.cause == "trial":  # the trial itself may come again; its Message-ID tells
            return None
        log.info(
            "recipient refused",
            queue_id=None,
            stream=stream.name,
            sender=message.origin.sender,
            recipient=recipient.address,
            cause=found.words(),
        )
        return refusal(recipient.address, found)

    def _is_under_way(self, message: Message) -> bool:
        """Whether it is a send of ours that comes by again. Raises `StoreUnavailable`."""
        settings, now = message.settings, self._backend.clock()
        for number in references(message.headers, settings.router.reference):
            send = self._backend.find_send(number)
            seen = (message.origin.sender, message.recipients, message.headers)
            if send and is_same_message(send, *seen, settings.config, now):
                return True
        return False

    def _let_go(self, message: Message, stream: Stream, send: EarlierSend) -> Answer:
        """Stamp nothing: it has a VERP address, which is on record. Whom it was not sent to may be suppressed."""
        others = [one for one in message.recipients if not send.holds(one.address)]
        withheld = self._suppressed(stream, others) if stream.suppressed != "pass" else {}
        if not withheld:
            return PASS
        self._record(message, stream, [], withheld)
        kept = [one for one in message.recipients if one not in withheld]
        nobody = self._without(message, stream, withheld, kept)
        return nobody or Edits(recipients=self._changes(message, withheld, kept))

    def _finish(self, message: Message, stream: Stream) -> Answer:
        withheld = self._withheld(message, stream)
        kept = [one for one in message.recipients if one not in withheld]
        spool = None if message.body is None else self._backend.name_copy(message.settings, stream)
        recorded = self._record(message, stream, kept, withheld, spool=spool)
        late = recorded.newly_suppressed
        withheld |= {one: late[one.address] for one in kept if one.address in late}
        kept = [one for one in kept if one not in withheld]
        nobody = self._without(message, stream, withheld, kept)
        if nobody:
            return nobody
        number = recorded.send
        edits = self._edits(message, stream, recorded, kept)
        if spool and message.body is not None:
            copy = edited(message.headers, edits.headers) + b"".join(message.body)
            self._backend.keep_copy(message.settings, spool, copy)
        _log_stamped(message, stream, number, edits, kept)
        readd = [one for one in kept if one.reporting and self._may_readd(stream)]
        return dataclasses.replace(edits, recipients=self._changes(message, withheld, kept, readd))

    def _record(
        self,
        message: Message,
        stream: Stream,
        kept: Sequence[Recipient],
        withheld: Mapping[Recipient, Suppression],
        *,
        spool: str | None = None,
    ) -> RecordedSend:
        return self._backend.record(
            message.settings,
            stream,
            clean(message.origin.sender),
            [one.address for one in kept],
            {one.address: why for one, why in withheld.items()},
            unheard=[one.address for one in kept if one.reporting and not self._may_readd(stream)],
            message_id=_cleaned(first(message.headers, "Message-ID")),
            tag=_cleaned(tag_of(message.headers)),
            queue_id=message.queue_id,
            spool=spool,
        )

    def _may_readd(self, stream: Stream) -> bool:
        """Whether reports may be asked for that the client wants none of: where they come to us, not to the client."""
        return self.can_add and bool(stream.pattern or stream.static_sender)

    def _changes(
        self,
        message: Message,
        withheld: Iterable[Recipient],
        kept: Sequence[Recipient],
        readd: Sequence[Recipient] = (),
    ) -> RecipientEdits:
        return edits_of(withheld, kept, readd, completed=message.by_sendmail, can_add=self.can_add)

    def _withheld(self, message: Message, stream: Stream) -> dict[Recipient, Suppression]:
        """The suppressed recipients that could not be refused at RCPT. A trial is judged when the send is recorded."""
        asked_already = stream.suppressed == "refuse" and message.found.decided and not message.by_sendmail
        if stream.suppressed == "pass" or asked_already:
            return {}
        found = self._suppressed(stream, message.recipients)
        return {recipient: one for recipient, one in found.items() if one.cause != "trial"}

    def _suppressed(self, stream: Stream, some: Iterable[Recipient]) -> dict[Recipient, Suppression]:
        asked = list(some)
        found = self._backend.suppressed_among(stream, [one.address for one in asked])
        return {one: found[one.address] for one in asked if one.address in found}

    def _without(
        self, message: Message, stream: Stream, withheld: Mapping[Recipient, Suppression], kept: Sequence[Recipient]
    ) -> Reply | Discard | None:
        """Log who is withheld; the answer if nobody is left."""
        for recipient, found in withheld.items():
            log.info(
                "recipient withheld",
                queue_id=message.queue_id,
                stream=stream.name,
                sender=message.origin.sender,
                recipient=recipient.address,
                cause=found.words(),
            )
        if kept:
            return None
        if message.by_sendmail or stream.suppressed == "drop":
            return DISCARD
        for_good = [(one, found) for one, found in withheld.items() if found.cause != "trial"]
        recipient, found = next(iter(for_good or withheld.items()))
        return refusal(recipient.address, found)

    def _edits(self, message: Message, stream: Stream, recorded: RecordedSend, kept: list[Recipient]) -> Edits:
        signer, number = self._backend.signer, recorded.send
        sender, reference = self._sender(message, stream, number), signer.reference(number)
        only = kept[0].address if len(kept) == 1 else None
        values = {
            "stream": stream.name,
            "tag": tag_of(message.headers),
            "token": sender_token(stream, sender) or reference,
            "recipient": only,
            "recipient_domain": domain_of(only) if only else None,
            "date": formatdate(self._backend.clock() / 1000),
        }
        made = stamp(stream, message.headers, values, reference)
        addresses = self._backend.list_addresses(message.settings, stream, recorded)
        listed = list_edits(stream, message.headers, values, addresses)
        left_off = (*made.left_off, *listed.left_off)
        if left_off:
            log.warning(
                "header fields omitted",
                queue_id=message.queue_id,
                stream=stream.name,
                fields=", ".join(left_off),
                send=number,
            )
        return Edits(sender, headers=(*made.edits, *listed.edits))

    def _sender(self, message: Message, stream: Stream, number: int) -> str | None:
        if stream.pattern:
            return self._backend.signer.envelope_sender(stream, number)
        return sender_of(stream, message.headers)

    def _without_store(self, message: Message, error: StoreUnavailable) -> Answer:
        answer = message.settings.config.milter.on_store_failure
        log.error("store is down", queue_id=message.queue_id, error=str(error), answer=answer)
        if answer == "tempfail":
            return STORE_IS_DOWN
        return Edits(headers=tuple(removal(message.headers, TAG)))


def _log_stamped(message: Message, stream: Stream, number: int, edits: Edits, kept: Sequence[Recipient]) -> None:
    log.info(
        "stamped",
        queue_id=message.queue_id,
        stream=stream.name,
        send=number,
        sender=message.origin.sender,
        stamped=edits.sender,
        recipient=kept[0].address if len(kept) == 1 else None,
        recipients=len(kept),
    )


def sender_token(stream: Stream, sender: str | None) -> str | None:
    """The token in a VERP sender of the stream."""
    found = stream.pattern.match(sender) if stream.pattern and sender else None
    return found.token if found else None


def _cleaned(text: str | None) -> str | None:
    return clean(text.strip()) if text and text.strip() else None
