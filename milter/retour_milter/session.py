"""Session: what the milter answers to each step of one client, without any milter library."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate, parseaddr

import structlog

from retour_milter.backend import Backend, Settings
from retour_milter.header_edits import HeaderEdit, edited, first, removal, stamp, tag_of
from retour_milter.match import Found, Origin, find_stream
from retour_policy import networks
from retour_policy.address import domain_of, is_address
from retour_policy.config.model import Stream
from retour_policy.config.values import REFERENCE, TAG
from retour_policy.core.suppression import Suppression
from retour_policy.errors import StoreUnavailable
from retour_policy.sanitize import clean

MAX_HEADER_CHARACTERS = 1_000_000  # that are kept of a header; the rest of a longer one is ignored

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that refuses."""

    code: str
    status: str
    text: str


@dataclass(frozen=True, slots=True)
class Edits:
    """What to change at the end of a message."""

    sender: str | None = None
    """The new envelope sender without <>; None: unchanged."""
    delete: tuple[str, ...] = ()
    """Recipients to remove, spelled as the client did."""
    headers: tuple[HeaderEdit, ...] = ()


class Discard:
    """Accept and discard the message: for sendmail(1), where a refusal would leave it in the queue."""


Answer = Reply | Edits | Discard
PASS = Edits()
DISCARD = Discard()
STORE_IS_DOWN = Reply("451", "4.3.0", "try again later")
STOPPING = Reply("451", "4.3.2", "stopping, try again later")
SECOND_RECIPIENT = Reply("452", "4.5.3", "one recipient a message in this stream")


@dataclass
class _Message:
    """What is known about the message in progress."""

    settings: Settings
    origin: Origin
    by_sendmail: bool
    found: Found
    recipients: list[str] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    header_size: int = 0
    body: list[bytes] | None = field(default_factory=list)
    """The body so far; None if no copy is kept."""
    body_size: int = 0


class Session:
    """One client's connection. A message of no stream passes at once (`mail` gives `PASS`)."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._client: str | None = None
        self._by_sendmail = False
        self._message: _Message | None = None

    def connect(self, client: str | None, port: int) -> None:
        """Keep the client. Postfix shows mail from sendmail(1) as from 127.0.0.1, port 0, which no client can have."""
        self._client = client
        self._by_sendmail = client == "127.0.0.1" and port == 0

    def mail(self, sender: str, login: str | None) -> Answer | None:
        """A message begins. `PASS`: ask no more about it; None: go on."""
        self._message = None
        settings = self._backend.settings
        by_sendmail = self._by_sendmail and not sender.startswith("<")
        address = bare(sender)
        served = login or by_sendmail or networks.contain(settings.config.milter.trusted, self._client)
        if not served or not address or settings.router.is_ours(address):
            return PASS
        origin = Origin(None if by_sendmail else self._client, login, address)
        found = find_stream(settings.config.stream, origin, None)
        if found.decided and found.stream is None:
            return PASS
        self._message = _Message(settings, origin, by_sendmail, found)
        return None

    def rcpt(self, recipient: str) -> Reply | None:
        """A recipient; an answer refuses it alone."""
        message = self._message
        if message is None:
            return None
        refusal = self._refusal(message, recipient)
        if refusal is None:
            message.recipients.append(recipient)
        return refusal

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

    def _may_be_resent(self, message: _Message) -> bool:
        found = find_stream(message.settings.config.stream, message.origin, message.headers).stream
        size = message.header_size + message.body_size
        return bool(found and found.retry and len(message.recipients) == 1 and size <= found.max_size)

    def end(self, queue_id: str | None, *, with_body: bool = False) -> Answer:
        """The message is complete. Its send record is durable when this returns, and so is the copy of one that
        may be sent again (`with_body`: its body was asked for).
        """
        message, self._message = self._message, None
        if message is None:
            return PASS
        if not with_body or not self._may_be_resent(message):
            message.body = None
        settings = message.settings
        stream = find_stream(settings.config.stream, message.origin, message.headers).stream
        stamped = first(message.headers, REFERENCE)
        if stream is None or (stamped and settings.router.reference(stamped) is not None):
            return PASS
        try:
            return self._finish(message, stream, queue_id)
        except StoreUnavailable as error:
            return self._without_store(message, error)

    def abort(self) -> None:
        """The message was aborted."""
        self._message = None

    def _refusal(self, message: _Message, recipient: str) -> Reply | None:
        stream = message.found.stream
        if stream is None or message.by_sendmail:
            return None
        if stream.multi_recipient == "refuse" and message.recipients:
            return SECOND_RECIPIENT
        if stream.suppressed != "refuse":
            return None
        try:
            found = self._backend.suppressed(stream, bare(recipient))
        except StoreUnavailable as error:
            log.error("store is down at RCPT", error=str(error), stream=stream.name)
            return STORE_IS_DOWN if message.settings.config.milter.on_store_failure == "tempfail" else None
        if found is None:
            return None
        log.info("recipient refused", stream=stream.name, recipient=bare(recipient), cause=found.words())
        return refusal(bare(recipient), found)

    def _finish(self, message: _Message, stream: Stream, queue_id: str | None) -> Answer:
        withheld = self._withheld(message, stream)
        kept = [recipient for recipient in message.recipients if recipient not in withheld]
        spool = None if message.body is None else self._backend.name_copy(message.settings, stream)
        recorded = self._backend.record(
            message.settings,
            stream,
            clean(message.origin.sender),
            [bare(recipient) for recipient in kept],
            {bare(recipient): why for recipient, why in withheld.items()},
            message_id=_cleaned(first(message.headers, "Message-ID")),
            tag=_cleaned(tag_of(message.headers)),
            queue_id=queue_id,
            spool=spool,
        )
        late = recorded.newly_suppressed
        withheld |= {recipient: late[bare(recipient)] for recipient in kept if bare(recipient) in late}
        kept = [recipient for recipient in kept if recipient not in withheld]
        for recipient, found in withheld.items():
            log.info("recipient withheld", stream=stream.name, recipient=bare(recipient), cause=found.words())
        if not kept:
            return self._nobody_left(message, withheld)
        number = recorded.send
        edits = self._edits(message, stream, number, kept)
        if spool and message.body is not None:
            copy = edited(message.headers, edits.headers) + b"".join(message.body)
            self._backend.keep_copy(message.settings, spool, copy)
        sender, count = edits.sender, len(kept)
        log.info("stamped", stream=stream.name, send=number, sender=sender, recipients=count, queue_id=queue_id)
        return dataclasses.replace(edits, delete=tuple(withheld))

    def _withheld(self, message: _Message, stream: Stream) -> dict[str, Suppression]:
        """The suppressed recipients that could not be refused at RCPT, spelled as the client did."""
        asked_already = stream.suppressed == "refuse" and message.found.decided and not message.by_sendmail
        if stream.suppressed == "pass" or asked_already:
            return {}
        found = {one: self._backend.suppressed(stream, bare(one)) for one in message.recipients}
        return {recipient: one for recipient, one in found.items() if one}

    def _nobody_left(self, message: _Message, withheld: Mapping[str, Suppression]) -> Answer:
        if message.by_sendmail:
            return DISCARD
        recipient, found = next(iter(withheld.items()))
        return refusal(bare(recipient), found)

    def _edits(self, message: _Message, stream: Stream, number: int, kept: list[str]) -> Edits:
        signer = self._backend.signer
        sender = self._sender(message, stream, number)
        only = bare(kept[0]) if len(kept) == 1 else None
        values = {
            "stream": stream.name,
            "tag": tag_of(message.headers),
            "token": sender_token(stream, sender) or signer.reference(number),
            "recipient": only,
            "recipient_domain": domain_of(only) if only else None,
            "date": formatdate(self._backend.clock() / 1000),
        }
        made = stamp(stream, message.headers, values, signer.reference(number))
        if made.left_off:
            log.warning("header fields omitted", stream=stream.name, fields=made.left_off, send=number)
        return Edits(sender, (), made.edits)

    def _sender(self, message: _Message, stream: Stream, number: int) -> str | None:
        if stream.pattern:
            return self._backend.signer.envelope_sender(stream, number)
        if stream.envelope_from == "header-from":
            author = parseaddr(first(message.headers, "From") or "")[1]
            return author if is_address(author) and author.isascii() else None  # the milter cannot ask for SMTPUTF8
        return stream.static_sender

    def _without_store(self, message: _Message, error: StoreUnavailable) -> Answer:
        log.error("store is down", error=str(error), answer=message.settings.config.milter.on_store_failure)
        if message.settings.config.milter.on_store_failure == "tempfail":
            return STORE_IS_DOWN
        return Edits(headers=tuple(removal(message.headers, TAG)))


def bare(address: str) -> str:
    """The address without <> around it."""
    text = address.strip()
    return text[1:-1] if text.startswith("<") and text.endswith(">") else text


def refusal(recipient: str, found: Suppression) -> Reply:
    """The 550 with cause and date. libmilter cannot send a single %."""
    words = f"<{recipient}> is suppressed: {found.words()}"
    text = "".join(c if c.isascii() and c.isprintable() and c != "%" else "?" for c in words)
    return Reply("550", "5.7.1", text[:400])


def sender_token(stream: Stream, sender: str | None) -> str | None:
    """The token in a VERP sender of the stream."""
    found = stream.pattern.match(sender) if stream.pattern and sender else None
    return found.token if found else None


def _cleaned(text: str | None) -> str | None:
    return clean(text.strip()) if text and text.strip() else None
