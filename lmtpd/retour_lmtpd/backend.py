"""Backend: what all sessions share: which address takes mail, and how a returned message is recorded before the 250."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, TypeVar

import structlog
from sqlalchemy import Connection

from retour_bounces import Report, Rules, read
from retour_lmtpd.message_data import MessageData
from retour_lmtpd.signatures import LookUp, signers
from retour_policy.clock import HOUR, Clock, ClockWatch
from retour_policy.config.model import Config
from retour_policy.core.hook_events import Event
from retour_policy.errors import StoreUnavailable, TooMuchWaits
from retour_policy.ledger.ledger import Ledger
from retour_policy.messages.authentication import Authentication, author_domain, by_verifier
from retour_policy.messages.fingerprint import Fingerprint
from retour_policy.messages.returned import Outcome, ReturnRecorder
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route, Router, UnknownAddress
from retour_policy.sanitize import clean
from retour_policy.store.writer import Writer
from retour_policy.tokens import token
from retour_policy.tokens.keyring import KeyRingFile

MAX_READ_AT_ONCE_OCTETS = 64_000  # a larger report is read in a thread, so that other sessions go on
MAX_ATTEMPTS = 2  # to record a report that itself causes the failure, before only its head is kept
MAX_MEMORY_ERRORS = 5  # deliveries of a report that memory did not suffice to read, before it is to blame itself
MAX_REMEMBERED_REPORTS = 1_000  # of those

T = TypeVar("T")
log = structlog.get_logger()
_LOGGED = ("storm", "stream", "side", "sent", "failed", "status", "reason")


@dataclass(frozen=True, slots=True)
class Recipient:
    """An address that takes mail, and what it stands for."""

    address: str
    route: Route


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an address takes no mail; `reason` is for the log only."""

    kind: Literal["unknown", "invalid token", "unknown key"]
    """Unknown; with a token that does not verify; signed, it says, with the key that the next rotation makes."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Settings:
    config: Config
    router: Router
    recorder: ReturnRecorder
    rules: Rules


class Backend:
    """What all sessions of the daemon share."""

    def __init__(self, config: Config, rules: Rules, ring: KeyRingFile, writer: Writer, clock: Clock) -> None:
        self._ring = ring
        self._writer = writer
        self._clock = clock
        self._next_purge = 0
        self._memory_errors: dict[bytes, int] = {}
        self._clock_watch = ClockWatch(clock)
        self.look_up: LookUp | None = None
        """Asks another DNS than the system's."""
        self.adopt(config, rules)

    def adopt(self, config: Config, rules: Rules) -> None:
        """Use `config`, and read by `rules`, from now on.

        Waits for the store, so it must not run in the event loop; safe in any thread.
        """
        self._ring.refresh()
        ledger = Ledger.of(config, self._writer, self._clock)
        recorder = ReturnRecorder.of(config, self._ring, ledger, self._clock)
        recorder = dataclasses.replace(recorder, storms=dataclasses.replace(recorder.storms, log=log_burst))
        self._settings = _Settings(config, Router(config, self._ring, self._clock), recorder, rules)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._settings.config

    def find_recipient(self, address: str) -> Recipient | Refusal:
        """Whether `address` (without <>) takes mail, by its signature alone, without the store."""
        try:
            return Recipient(clean(address), self._settings.router.route(address))
        except UnknownAddress:
            return Refusal("unknown")
        except token.KeyToCome as error:
            return Refusal("unknown key", error.reason)
        except token.TokenError as error:
            return Refusal("invalid token", error.reason)

    def new_identity(self) -> Fingerprint:
        """The digest that recognises a message when it comes again; it is fed as the message comes in."""
        return Fingerprint()

    async def tick(self) -> None:
        """Update open storms, and each hour remove old counters. Called every few seconds; never raises.

        What a clock that was ahead has dated is set right at the start, when it is set, and each hour.
        """
        recorder, now = self._settings.recorder, self._clock()
        storms, ledger = recorder.storms, recorder.ledger
        try:
            if jump := self._clock_watch.jump():
                self._next_purge = 0
                log.error("clock jumped", by_ms=jump)
            if now >= self._next_purge:
                brought_back = await self._wait(lambda connection: storms.bring_back(connection, now))
                if brought_back:
                    log.error("storms from a clock that was ahead", count=brought_back)
            await self._repeat(lambda connection: storms.tick(connection, ledger, self._clock()))
            if now >= self._next_purge:
                self._next_purge = now + HOUR
                await self._repeat(lambda connection: storms.remove_old_counters(connection, now))
        except Exception as error:
            log.error("storms not updated", error=str(error))

    async def _repeat(self, work: Callable[[Connection], bool]) -> None:
        while await self._wait(work):
            pass

    async def _wait(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.wrap_future(self._writer.submit(work))

    async def deliver(self, sender: str, recipients: Sequence[Recipient], message: MessageData) -> list[bool]:
        """Read and record; for each recipient whether it is recorded. Never raises."""
        try:
            report = await self._read(sender, message)
        except Exception:
            log.exception("reading the report deferred", size=message.size)
            return [False] * len(recipients)
        authentication = await self._authentication(report, recipients, message)
        returned = [
            ReturnedMessage(
                at=self._clock(),
                route=recipient.route,
                recipient=recipient.address,
                sender=sender,
                raw=message.raw,
                fingerprint=message.fingerprint,
                report=report,
                truncated=message.truncated,
                authentication=authentication,
            )
            for recipient in recipients
        ]
        return list(await asyncio.gather(*(self._record(one) for one in returned)))

    async def _authentication(
        self, report: Report | None, recipients: Sequence[Recipient], message: MessageData
    ) -> Authentication:
        """Who has signed a message: as the mail server's verifier found, else where that matters as we find it."""
        authserv_id = self.config.lmtpd.authserv_id
        if authserv_id:
            return by_verifier(message.raw, authserv_id)
        token = report.original.cfbl_feedback_id if report and report.kind == "complaint" else None
        matters = token and any(one.route.send is None for one in recipients) and not message.truncated
        if not matters or self._settings.router.feedback(token or "") is None:  # the DNS is asked for no made-up ones
            return Authentication()
        signed_by = await signers(message.raw, self.look_up)
        return Authentication(tuple(f"dkim={domain}" for domain in signed_by), author_domain(message.raw))

    async def _read(self, sender: str, message: MessageData) -> Report | None:
        """None: it cannot be read for its own sake. Raises what this machine is to blame for, such as `MemoryError`."""
        # the mark of final delivery (RFC 5321 section 4.4): an empty sender suggests a report
        data = b"Return-Path: <" + sender.encode("utf-8", "surrogateescape") + b">\r\n" + message.raw
        rules = self._settings.rules
        try:
            if len(data) > MAX_READ_AT_ONCE_OCTETS:
                return await asyncio.to_thread(_read_or_none, data, rules)
            return _read_or_none(data, rules)
        except MemoryError:
            if not self._lacks_memory_again(message.fingerprint):
                raise
            log.exception("reading the report failed", size=message.size)
            return None

    def _lacks_memory_again(self, fingerprint: bytes) -> bool:
        """Whether a report has failed for want of memory so often that it would block its queue until it is lost."""
        count = self._memory_errors.pop(fingerprint, 0) + 1
        self._memory_errors[fingerprint] = count
        if len(self._memory_errors) > MAX_REMEMBERED_REPORTS:
            del self._memory_errors[next(iter(self._memory_errors))]
        return count > MAX_MEMORY_ERRORS

    async def _record(self, message: ReturnedMessage) -> bool:
        if message.report is not None:
            for _ in range(MAX_ATTEMPTS):
                try:
                    return await self._commit(message)
                except MemoryError:
                    log.exception("recording the report deferred", delivered_to=message.recipient)
                    return False
                except Exception:
                    log.exception(
                        "recording the report failed", send=message.route.send, delivered_to=message.recipient
                    )
        try:
            return await self._commit(dataclasses.replace(message, report=None))
        except Exception:
            log.exception("recording the report's head failed", delivered_to=message.recipient)
            return False

    async def _commit(self, message: ReturnedMessage) -> bool:
        """Whether it is durable in the store. Raises errors that the report itself causes."""
        try:
            outcome = await self._outcome(message)
        except (StoreUnavailable, TimeoutError) as error:
            log.error(
                "store is down, report stays with the mail server", error=str(error), delivered_to=message.recipient
            )
            return False
        except TooMuchWaits as error:
            log.warning(
                "too much waits, report stays with the mail server", error=str(error), delivered_to=message.recipient
            )
            return False
        kind = message.report.kind if message.report else "unread"
        log.info(
            outcome, kind=kind, send=message.route.send, stream=message.route.stream, delivered_to=message.recipient
        )
        return True

    async def _outcome(self, message: ReturnedMessage) -> Outcome:
        """What came of it, once it is durable. Raises also `StoreUnavailable` and `TimeoutError`."""
        recorder = self._settings.recorder
        if message.is_short:
            return await self._in_time(self._writer.submit_to(recorder.record_many, message, message.weight))
        outcomes = [await self._in_time(self._writer.submit(work)) for work in recorder.transactions(message)]
        return outcomes[0]

    async def _in_time(self, future: Future[T]) -> T:
        return await asyncio.wait_for(asyncio.wrap_future(future), self.config.lmtpd.store_timeout / 1000)


def _read_or_none(data: bytes, rules: Rules) -> Report | None:
    """The report; None if it makes reading fail, as it always will: it must not stay in its queue until it is lost."""
    try:
        return read(data, rules=rules)
    except MemoryError:
        raise
    except Exception:
        log.exception("reading the report failed", size=len(data))
        return None


def log_burst(event: Event) -> None:
    """Log what was found out about a receiving side."""
    values = {name: value for name, value in event.data.to_dict().items() if name in _LOGGED}
    if event.type == "storm.opened":
        log.warning("storm opened", **values)
    elif event.type == "storm.closed":
        log.info("storm closed", **values)
    else:
        log.warning("burst blames the sender", **values)
