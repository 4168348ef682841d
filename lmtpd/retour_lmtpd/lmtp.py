"""LMTP: one session with the mail server (RFC 2033), on aiosmtpd, extended to always answer once per recipient."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any, cast

import structlog
from aiosmtpd.lmtp import LMTP

from retour_lmtpd.backend import Backend, Recipient
from retour_lmtpd.connections import Connections
from retour_lmtpd.message_data import DataReader, MessageData
from retour_policy.sanitize import clean

EXTENSIONS = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8")
MAX_RECIPIENTS = 100  # in one transaction: the least that RFC 5321 section 4.5.3.1.8 asks for; mail servers send 50
REPLY_GRACE_S = 5.0  # that a client has to take its last reply
STOP_GRACE_S = 5.0  # of silence that is borne within a transaction while the daemon is stopping
RECORDED = "250 2.0.0 recorded"
LATER = "451 4.3.0 try again later"
UNKNOWN = "550 5.1.1 no such address here"
STOPPING = "421 4.3.2 stopping, try again later"
REFUSED = "550 5.7.1 this address does not take mail any more"
_PATH = re.compile(r'(FROM|TO):\s*<([^<>\x00-\x20]*|"(?:[^"\\]|\\.)*"@[^<>\x00-\x20]*)>(?: .*)?', re.I)
_BARE_REPLY = re.compile(r"([245])\d\d (?!\1\.\d)")
_NOT_IN_A_REPLY = re.compile(r"[^\x20-\x7e]")  # RFC 5321 section 4.2.1: textstring
_CLASS_STATUS = {"2": "2.0.0", "4": "4.3.0", "5": "5.5.0"}

log = structlog.get_logger()


@dataclass(slots=True)
class _Transaction:
    sender: str
    recipients: list[Recipient]


class Session(LMTP):
    """One connection. After RCPT it answers 250 or 451 and nothing else."""

    line_length_limit = 65_536  # what may be buffered before a line ends: aiosmtpd passes it to its reader
    command_size_limit = 4_096  # octets: the longest path, and unknown parameters

    def __init__(self, backend: Backend, connections: Connections) -> None:
        timeout = backend.config.lmtpd.idle_timeout / 1000
        super().__init__(
            None, data_size_limit=None, enable_SMTPUTF8=True, hostname="retour", ident="LMTP", timeout=timeout
        )
        self._backend = backend
        self._connections = connections
        self._transaction: _Transaction | None = None
        self._greeted = False
        self._ending = False
        self._delivering = False

    def connection_made(self, transport: Any) -> None:
        """A client: refuse it with 421 if there are too many or it may not connect."""
        refusal = self._connections.enter(self, transport, self._backend.config.lmtpd)
        if refusal:
            transport.write(refusal.encode() + b"\r\n")
            transport.close()
            return
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """The client has disconnected; a recording in progress is finished."""
        if self._connections.leave(self):
            super().connection_lost(error)

    def eof_received(self) -> bool | None:
        """The client closed its side and takes no more answers, or it only tested the port."""
        if self in self._connections:
            super().eof_received()
        return False  # close: else a session that has not begun yet would keep its place until the idle timeout

    async def push(self, status: str | bytes) -> None:
        """Send a reply line, with an enhanced status code (RFC 2034) if it has none.

        Then other sessions have their turn: one that pipelines many commands must not hold them up.
        """
        text = status.decode() if isinstance(status, bytes) else status
        text = _NOT_IN_A_REPLY.sub("?", text)  # of a command that aiosmtpd says back
        found = _BARE_REPLY.match(text)
        if found and not text.startswith("220 "):
            text = f"{text[:4]}{_CLASS_STATUS[found[1]]} {text[4:]}"
        await super().push(text)
        await asyncio.sleep(0)

    async def handle_exception(self, error: Exception) -> str:
        """An internal error is temporary; its cause is only logged, once the client has its answer."""
        self._transaction = None
        self.loop.call_soon(_log_failure, error)
        return LATER

    async def smtp_LHLO(self, arg: str) -> None:
        """LHLO: the greeting and what is offered. No SIZE, because a larger report would be discarded unread."""
        if not arg:
            await self.push("501 5.5.4 Syntax: LHLO hostname")
            return
        self._transaction = None
        self._greeted = True
        lines = [self.hostname, *EXTENSIONS]
        reply = "\r\n".join(f"250{'-' if n < len(lines) - 1 else ' '}{line}" for n, line in enumerate(lines))
        self._writer.write(reply.encode() + b"\r\n")
        await self._writer.drain()

    async def smtp_MAIL(self, arg: str | None) -> None:
        """MAIL FROM. Parameters are accepted, and none is needed."""
        found = _PATH.fullmatch(arg or "")
        if not self._greeted:
            await self.push("503 5.5.1 send LHLO first")
        elif self._transaction is not None:
            await self.push("503 5.5.1 nested MAIL command")
        elif found is None or found[1].upper() != "FROM":
            await self.push("501 5.5.4 Syntax: MAIL FROM:<address>")
        else:
            self._transaction = _Transaction(clean(found[2]), [])
            await self.push("250 2.1.0 OK")

    async def smtp_RCPT(self, arg: str | None) -> None:
        """RCPT TO: only addresses with a token that verifies, and those that need none."""
        found = _PATH.fullmatch(arg or "")
        if self._transaction is None:
            await self.push("503 5.5.1 need MAIL command")
        elif found is None or found[1].upper() != "TO":
            await self.push("501 5.5.4 Syntax: RCPT TO:<address>")
        elif len(self._transaction.recipients) >= MAX_RECIPIENTS:
            await self.push("452 4.5.3 too many recipients")
        else:
            await self.push(self._accept(self._transaction, found[2]))

    async def smtp_RSET(self, arg: str | None) -> None:
        """RSET."""
        await self.push("250 2.0.0 OK")
        self._transaction_over()

    async def smtp_DATA(self, arg: str | None) -> None:
        """DATA: one reply for each recipient, in order."""
        transaction = self._transaction
        if transaction is None or not transaction.recipients:
            await self.push("503 5.5.1 need RCPT command")
            return
        await self.push("354 end with <CRLF>.<CRLF>")
        try:
            message = await self._read_message()
        except TimeoutError:
            self._hang_up("421 4.4.2 the message took too long")
            return
        except ConnectionResetError:
            raise
        except Exception as error:  # the rest of the message must not be taken for commands
            self._hang_up("421 4.3.0 the message could not be taken in")
            _log_failure(error)
            return
        recorded = await self._deliver(transaction, message)
        self._reset_timeout()
        for ok in recorded:
            await self.push(RECORDED if ok else LATER)
        self._transaction_over()

    def wind_up(self) -> None:
        """The daemon is stopping: close the connection, after the message in progress, if its client goes on with it.

        What is being recorded is finished; a client that is silent within a transaction is waited for a short time.
        """
        self._ending = True
        if self._transaction is None:
            self._hang_up(STOPPING)
        elif not self._delivering:
            self._reset_timeout()

    def _transaction_over(self) -> None:
        self._transaction = None
        if self._ending:
            self._hang_up(STOPPING)

    async def _deliver(self, transaction: _Transaction, message: MessageData) -> list[bool]:
        """For each recipient whether the message is recorded; after an internal error, False for each."""
        self._delivering = True
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()  # the client waits for an answer now, so its silence must not time out
        try:
            return await self._backend.deliver(transaction.sender, transaction.recipients, message)
        except Exception:
            log.exception("LMTP delivery failed")
            return [False] * len(transaction.recipients)
        finally:
            self._delivering = False

    def _accept(self, transaction: _Transaction, recipient: str) -> str:
        found = self._backend.find_recipient(recipient)
        if isinstance(found, Recipient):
            transaction.recipients.append(found)
            return "250 2.1.5 OK"
        if found.kind == "unknown":
            return UNKNOWN
        if found.kind == "unknown key":
            log.warning("recipient deferred", recipient=clean(recipient), reason=found.reason)
            return LATER
        log.warning("recipient refused", recipient=clean(recipient), reason=found.reason)
        return REFUSED

    async def _read_message(self) -> MessageData:
        """Read up to the lone dot, whatever the size, within the time that a message may take."""
        reader = DataReader(self._backend.new_identity())
        async with asyncio.timeout(self._backend.config.lmtpd.data_timeout / 1000):
            while True:
                chunk = await self._reader.read(1 << 30)  # all that is buffered; the reader bounds that
                if not chunk:
                    raise ConnectionResetError("the client left within a message")
                self._reset_timeout()
                rest = reader.feed(chunk)
                if rest is not None:
                    break
        if rest:
            self._reader.feed_data(rest)  # pipelined commands; the buffer was emptied, so their order is kept
        return reader.message()

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Bear the client's silence from now on for as long as is allowed, or `duration` seconds."""
        allowed_s = self._timeout_duration if duration is None else duration
        super()._reset_timeout(min(STOP_GRACE_S, allowed_s) if self._ending else allowed_s)

    def _timeout_cb(self) -> None:
        """The client was silent for too long: tell it, and close."""
        self._hang_up(STOPPING if self._ending else "421 4.4.2 nothing came for too long")

    def _hang_up(self, reply: str) -> None:
        if self.transport is not None:
            transport = cast(asyncio.Transport, self.transport)
            transport.write(reply.encode() + b"\r\n")
            transport.close()
            self.loop.call_later(
                REPLY_GRACE_S, transport.abort
            )  # else a client that does not read would keep its place


def _log_failure(error: Exception) -> None:
    log.error("LMTP session failed", exc_info=error)
