"""Reception: takes a returned message that is complete, reads it, and has it recorded before anybody says 250."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from retour_bounces import Report, Rules, read
from retour_lmtpd.message_data import MessageData
from retour_policy.clock import HOUR, Clock
from retour_policy.config.model import Config
from retour_policy.errors import StoreUnavailable
from retour_policy.ledger.ledger import Ledger
from retour_policy.messages.returned import Outcome, ReturnedMessage, ReturnRecorder
from retour_policy.messages.router import Route, Router
from retour_policy.store.writer import Writer
from retour_policy.tokens.keyring import KeyRingFile

LARGE = 64_000  # octets from which on a report is read in a thread, so that other sessions go on
TRIES = 2  # to record a report that fails for its own sake, before only its head is kept

log = structlog.get_logger()


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
        self._remove_counters_at = 0
        self.adopt(config, rules)

    def adopt(self, config: Config, rules: Rules) -> None:
        """Use `config`, and read by `rules`, from now on.

        Waits for the store, so not for the event loop; safe in any thread.
        """
        self._ring.refresh()
        ledger = Ledger.of(config, self._writer, self._clock)
        recorder = ReturnRecorder.of(config, self._ring, ledger, self._clock)
        self._settings = _Settings(config, Router(config, self._ring, self._clock), recorder, rules)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._settings.config

    @property
    def router(self) -> Router:
        """What tells whose an address is."""
        return self._settings.router

    async def tick(self) -> None:
        """Do what open storms need, and each hour remove old counters. Called every few seconds; never raises."""
        recorder, now = self._settings.recorder, self._clock()
        storms, ledger = recorder.storms, recorder.ledger
        try:
            await self._repeat(lambda connection: storms.tick(connection, ledger, self._clock()))
            if now >= self._remove_counters_at:
                self._remove_counters_at = now + HOUR
                await self._repeat(lambda connection: storms.remove_old_counters(connection, now))
        except Exception as error:
            log.error("storms not looked after", error=str(error))

    async def _repeat(self, work: Callable[[Connection], bool]) -> None:
        while await asyncio.wrap_future(self._writer.submit(work)):
            pass

    async def deliver(self, sender: str, recipients: list[tuple[str, Route]], content: MessageData) -> list[bool]:
        """Read and record; for each recipient whether it is recorded. Never raises."""
        report = await self._read(sender, content)
        arrivals = [
            ReturnedMessage(
                at=self._clock(),
                route=route,
                recipient=recipient,
                sender=sender,
                raw=content.raw,
                fingerprint=content.fingerprint,
                report=report,
                truncated=content.truncated,
            )
            for recipient, route in recipients
        ]
        return list(await asyncio.gather(*(self._record(arrival) for arrival in arrivals)))

    async def _read(self, sender: str, content: MessageData) -> Report | None:
        # the mark of final delivery (RFC 5321 section 4.4): an empty sender speaks for a report
        data = b"Return-Path: <" + sender.encode("utf-8", "surrogateescape") + b">\r\n" + content.raw
        try:
            if len(data) > LARGE:
                return await asyncio.to_thread(read, data, rules=self._settings.rules)
            return read(data, rules=self._settings.rules)
        except Exception:
            log.exception("report cannot be read", size=content.size)
            return None

    async def _record(self, arrival: ReturnedMessage) -> bool:
        if arrival.report is not None:
            for _ in range(TRIES):
                try:
                    return await self._commit(arrival)
                except Exception:
                    log.exception("report cannot be recorded", send=arrival.route.send, came_to=arrival.recipient)
        try:
            return await self._commit(dataclasses.replace(arrival, report=None))
        except Exception:
            log.exception("not even the head of a report can be recorded", came_to=arrival.recipient)
            return False

    async def _commit(self, arrival: ReturnedMessage) -> bool:
        """Whether it is in the store for good. Raises what is wrong with the report itself."""
        recorder = self._settings.recorder
        future = self._writer.submit(lambda connection: recorder.record(connection, arrival))
        try:
            wait = self.config.lmtpd.store_timeout / 1000
            outcome: Outcome = await asyncio.wait_for(asyncio.wrap_future(future), wait)
        except (StoreUnavailable, TimeoutError) as error:
            log.error("store is down, report stays with the mail server", error=str(error), came_to=arrival.recipient)
            return False
        kind = arrival.report.kind if arrival.report else "unread"
        log.info(outcome, kind=kind, send=arrival.route.send, stream=arrival.route.stream, came_to=arrival.recipient)
        return True
