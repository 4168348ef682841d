"""Outcomes: the results of items that were carried out, gathered and committed in groups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import structlog
from sqlalchemy import Connection

from retour_courier.errors import DeliveryError
from retour_courier.leases import Batch, Leases
from retour_policy.errors import StoreUnavailable
from retour_policy.outbox import queue
from retour_policy.outbox.manage import MAX_BATCH_OCTETS
from retour_policy.outbox.queue import Failure
from retour_policy.store import outbox

StoreWrite = Callable[[Connection], None]
"""Writes in the transaction that removes a batch which was carried out."""
STORE_RETRY_S = 1.0  # between attempts while the store does not answer
GROUP_COMMIT_S = 0.05  # during which outcomes are gathered before they are committed together
MAX_GROUP_BATCHES = 500  # in one transaction, so that it stays short

log = structlog.get_logger()


@dataclass(frozen=True)
class _Outcome:
    """What is to be written about a batch."""

    batch: Batch
    follow_up: StoreWrite | None = None
    failures: tuple[Failure, ...] = ()
    """One for each item; empty: the batch was carried out."""

    @property
    def ids(self) -> list[int]:
        return [item.id for item in self.batch]


@dataclass
class Outcomes:
    """The outcomes of one courier, all in the event loop. Until its outcome is committed, an item stays leased."""

    leases: Leases
    _pending: list[_Outcome] = field(default_factory=list)
    _committing: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _listeners: dict[str, Callable[[], None]] = field(default_factory=dict)

    def listen(self, channel: str, listener: Callable[[], None]) -> None:
        """Call back whenever an outcome in the channel is committed: the item next in order may go now."""
        self._listeners[channel] = listener

    def mark_done(self, batch: Batch, follow_up: StoreWrite | None) -> None:
        """Mark the batch done; written with the next group commit, together with what follows from it."""
        self._add(_Outcome(batch, follow_up))

    def mark_failed(self, batch: Batch, error: DeliveryError) -> None:
        """Mark the batch failed; written with the next group commit."""
        limits = self.leases.config.courier
        failures = [
            Failure(item, str(error), not error.temporary, max(queue.pause(item.attempts, limits), error.wait))
            for item in batch
        ]
        self._add(_Outcome(batch, failures=tuple(failures)))

    async def flush(self, timeout_s: float) -> None:
        """Wait until all outcomes are durable, at most that many seconds."""
        clock = asyncio.get_running_loop()
        end = clock.time() + timeout_s
        while self._pending or self._committing:
            if clock.time() > end:
                count = self._committing + len(self._pending)
                log.error("outcomes not written, will be done again", count=count)
                return
            await asyncio.sleep(GROUP_COMMIT_S)

    async def keep_committing(self) -> None:
        """Commit outcomes in groups, until cancelled."""
        while True:
            await self._wake.wait()
            if len(self._pending) < MAX_GROUP_BATCHES:
                await asyncio.sleep(GROUP_COMMIT_S)
            group = self._next_group()
            if not self._pending:
                self._wake.clear()
            self._committing = len(group)
            try:
                await self._commit(group)
            except Exception:  # else no outcome would ever be written again
                log.exception("courier failed", items=[number for outcome in group for number in outcome.ids])
                for outcome in group:
                    self.leases.forget(outcome.ids)  # not renewed, so that the items are tried again
            self._committing = 0

    def _add(self, outcome: _Outcome) -> None:
        self._pending.append(outcome)
        self._wake.set()

    def _next_group(self) -> list[_Outcome]:
        """The outcomes for one transaction; one always fits."""
        number, octets = 0, 0
        for outcome in self._pending[:MAX_GROUP_BATCHES]:
            octets += sum(len(item.body) for item in outcome.batch)
            if number and octets > MAX_BATCH_OCTETS:
                break
            number += 1
        group, self._pending = self._pending[:number], self._pending[number:]
        return group

    async def _commit(self, group: list[_Outcome]) -> None:
        """Write a group of outcomes; if the store does not answer, retry, because the items were carried out."""
        while True:
            try:
                await self.leases.store.write(partial(self._write, group))
                break
            except StoreUnavailable as error:
                log.error("store is down, outcomes not written yet", error=str(error), count=len(group))
                await asyncio.sleep(STORE_RETRY_S)
            except Exception as error:
                if len(group) > 1:
                    for outcome in group:
                        await self._commit([outcome])
                    return
                log.exception("outcome cannot be written", items=group[0].ids)
                group = [_as_failure(group[0], error)]
        _log_done(group)
        for outcome in group:
            self.leases.forget(outcome.ids)
        for channel in {outcome.batch[0].channel for outcome in group}:
            if channel in self._listeners:
                self._listeners[channel]()

    def _write(self, group: list[_Outcome], connection: Connection) -> None:
        now, me = self.leases.clock(), self.leases.me
        done = [number for outcome in group if not outcome.failures for number in outcome.ids]
        queue.fail(connection, list(_failures(group)), me, now)
        for outcome in group:
            if outcome.follow_up:
                with connection.begin_nested():
                    outcome.follow_up(connection)
        if done:
            outbox.finish(connection, done, me)


def _failures(group: list[_Outcome]) -> Iterator[Failure]:
    for outcome in group:
        yield from outcome.failures


def _as_failure(outcome: _Outcome, error: Exception) -> _Outcome:
    """Make it a dead letter, not to be done again: it was carried out, but what follows cannot be written."""
    words = f"was carried out, but that cannot be recorded: {error!r}"
    return _Outcome(outcome.batch, failures=tuple(Failure(item, words, True, 0) for item in outcome.batch))


def _log_done(group: list[_Outcome]) -> None:
    """One line in the log for all items done in a channel, with their numbers."""
    done: dict[str, list[int]] = {}
    for outcome in group:
        if not outcome.failures:
            done.setdefault(outcome.batch[0].channel, []).extend(outcome.ids)
    for channel, items in done.items():
        log.info("items done", channel=channel, items=items)
