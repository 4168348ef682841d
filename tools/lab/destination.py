"""A mail server to send to, a real one on loopback, whose answers follow a script by recipient."""

from __future__ import annotations

import email
import smtplib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, Protocol

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from lab.ports import free_port
from lab.reports import SERVER, AutoReply, Failure, Original, delay
from lab.wait import PATIENCE

OUTSIDE = "127.0.0.3"
"""Where returned mail comes from: an address that the private Postfix does not trust."""


@dataclass(frozen=True)
class Refuse:
    """Answer this at RCPT."""

    reply: str


@dataclass(frozen=True)
class RefuseOnce:
    """Answer this at the first RCPT, and accept from then on."""

    reply: str


@dataclass(frozen=True)
class RefuseData:
    """Accept the recipient and answer this to the message; the first such recipient decides for all."""

    reply: str


@dataclass(frozen=True)
class Keep:
    """Accept the message and keep it."""


class Answer(Protocol):
    """Something that goes back to the envelope sender of a message that was accepted."""

    @property
    def sender(self) -> str:
        """The answer's own envelope sender, empty for <>."""

    def compose(self, original: Original) -> bytes:
        """The answer's text."""


Behaviour = Refuse | RefuseOnce | RefuseData | Keep | Answer

SCRIPT: dict[str, Behaviour] = {
    "ok": Keep(),
    "gone": Refuse("550 5.1.1 <gone>: Recipient address rejected: User unknown"),
    "full": Refuse("552 5.2.2 Mailbox full, quota exceeded"),
    "blocked": Refuse("550 5.7.1 Service unavailable; client host [192.0.2.1] blocked using zen.spamhaus.org"),
    "softly": Refuse("451 4.3.0 Try again later"),
    "later": Failure(diagnostic="550 5.1.1 User unknown in the mailbox store"),
    "away": AutoReply(),
    "slow": delay(),
}
"""What a recipient gets by local part, up to a `+`: gone+anna@ is answered like gone@."""


@dataclass(frozen=True)
class Arrived:
    """A message as it arrived: envelope and content."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> Message:
        """The content, parsed."""
        return email.message_from_bytes(self.content)

    def headers(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return [str(value) for value in self.message.get_all(name, [])]


@dataclass(frozen=True)
class Returned:
    """An attempt to send an answer back: to whom, and the last reply that it got."""

    to: str
    code: int
    reply: str


@dataclass
class Book:
    """What happened at a destination, in order; waiting wakes as soon as something is added."""

    arrived: list[Arrived] = field(default_factory=list)
    returned: list[Returned] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, entry: Arrived | Returned) -> None:
        """Add one entry."""
        with self.changed:
            if isinstance(entry, Arrived):
                self.arrived.append(entry)
            else:
                self.returned.append(entry)
            self.changed.notify_all()

    def wait(self, ready: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
        """Wait until `ready` holds. Raises `TimeoutError` that lists the entries."""
        with self.changed:
            if not self.changed.wait_for(ready, timeout):
                seen = [(entry.sender, entry.recipients) for entry in self.arrived]
                raise TimeoutError(f"waited {timeout:g} s for {what}; arrived: {seen}; returned: {self.returned}")


class Destination:
    """The destination server, as a context manager; `hop` is its `host:port` for `PrivatePostfix`.

    `script` adds to `SCRIPT` or changes it; who is not in it gets `default`. Answers go back through the SMTP
    server at port `return_port`, which may be set after the start, and are sent one after the other.
    """

    def __init__(
        self,
        *,
        script: Mapping[str, Behaviour] | None = None,
        default: Behaviour | None = None,
        return_port: int | None = None,
    ) -> None:
        self.script = SCRIPT | dict(script or {})
        self.default = default or Keep()
        self.return_port = return_port
        self.port = free_port()
        self.hop = f"127.0.0.1:{self.port}"
        self._book = Book()

    def __enter__(self) -> Destination:
        self._postman = ThreadPoolExecutor(max_workers=1, thread_name_prefix="postman")
        self._controller = Controller(
            _Handler(self), hostname="127.0.0.1", port=self.port, ident="ESMTP", server_hostname=SERVER
        )
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()
        self._postman.shutdown()

    @property
    def arrived(self) -> list[Arrived]:
        """The messages accepted so far."""
        return list(self._book.arrived)

    @property
    def returned(self) -> list[Returned]:
        """The answers sent back so far, with the replies they got."""
        return list(self._book.returned)

    def wait(self, count: int, timeout: float = PATIENCE) -> list[Arrived]:
        """Wait until `count` messages have arrived and return all. Raises `TimeoutError`."""
        self._book.wait(lambda: len(self._book.arrived) >= count, f"{count} messages", timeout)
        return self.arrived

    def wait_for(self, predicate: Callable[[Arrived], bool]) -> Arrived:
        """Wait for a message that `predicate` holds for and return the first. Raises `TimeoutError`."""
        self._book.wait(lambda: any(map(predicate, self._book.arrived)), "a certain message")
        return next(filter(predicate, self.arrived))

    def wait_to(self, recipient: str) -> Arrived:
        """Wait for a message to this recipient. Raises `TimeoutError`."""
        return self.wait_for(lambda message: recipient in message.recipients)

    def wait_returned(self, count: int) -> list[Returned]:
        """Wait until `count` answers have been sent back. Raises `TimeoutError`."""
        self._book.wait(lambda: len(self._book.returned) >= count, f"{count} answers")
        return self.returned

    def behaviour(self, recipient: str) -> Behaviour:
        """What the script says about a recipient."""
        local = recipient.rpartition("@")[0]
        return self.script.get(local) or self.script.get(local.partition("+")[0]) or self.default

    def take(self, message: Arrived) -> None:
        """Keep an accepted message, and send back what the script says."""
        self._book.add(message)
        for recipient in message.recipients:
            behaviour = self.behaviour(recipient)
            if message.sender and not isinstance(behaviour, Refuse | RefuseOnce | RefuseData | Keep):
                self._postman.submit(self._send_back, behaviour, message, recipient)

    def _send_back(self, answer: Answer, message: Arrived, recipient: str) -> None:
        code, reply = 0, "no return_port"
        if self.return_port is not None:
            content = answer.compose(_original(message, recipient))
            code, reply = _post(self.return_port, answer.sender, message.sender, content)
        self._book.add(Returned(message.sender, code, reply))


class _Handler:
    """Translates between aiosmtpd and the destination."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        behaviour = self._destination.behaviour(address)
        if isinstance(behaviour, RefuseOnce):
            self._destination.script[address.rpartition("@")[0]] = Keep()
        if isinstance(behaviour, Refuse | RefuseOnce):
            return behaviour.reply
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        for recipient in envelope.rcpt_tos:
            behaviour = self._destination.behaviour(recipient)
            if isinstance(behaviour, RefuseData):
                return behaviour.reply
        content: Any = envelope.content
        sender = (envelope.mail_from or "").removeprefix("<>")
        self._destination.take(Arrived(sender, tuple(envelope.rcpt_tos), bytes(content)))
        return "250 2.0.0 Ok"


def _original(message: Arrived, recipient: str) -> Original:
    head = message.content.replace(b"\r\n", b"\n").partition(b"\n\n")[0].decode("utf-8", "surrogateescape")
    parsed = message.message
    return Original(
        sender=message.sender,
        recipient=recipient,
        headers=head,
        subject=str(parsed.get("Subject", "")),
        message_id=str(parsed.get("Message-ID", "")),
    )


def _post(port: int, sender: str, recipient: str, content: bytes) -> tuple[int, str]:
    """Send one message from outside; the last reply, whether good or bad (code 0: no reply)."""
    try:
        with smtplib.SMTP("127.0.0.1", port, SERVER, timeout=PATIENCE, source_address=(OUTSIDE, 0)) as client:
            client.ehlo_or_helo_if_needed()
            for code, reply in (client.mail(sender), client.rcpt(recipient)):
                if code >= 400:
                    return code, reply.decode(errors="replace")
            code, reply = client.data(content)
            return code, reply.decode(errors="replace")
    except (OSError, smtplib.SMTPException) as error:
        return 0, str(error)
