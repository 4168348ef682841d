"""Channel: works through the items of one hook or relay, so that a slow or dead one delays no other."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Protocol

import structlog

from retour_courier.dead_letters import give_up_overdue
from retour_courier.errors import DeliveryError
from retour_courier.leases import Batch
from retour_courier.outcomes import Outcomes, StoreWrite
from retour_policy.clock import HOUR, MINUTE
from retour_policy.errors import StoreUnavailable
from retour_policy.outbox import queue

POLL_INTERVAL_S = 1.0  # between looks at an empty outbox: one indexed read
PREFETCH_S = 0.25  # of work that is leased ahead, at the latest speed
MIN_PREFETCH_PER_CONNECTION = 2  # batches
MAX_PREFETCH_BATCHES = 2_000
MAX_BACKOFF_MS = 5 * MINUTE
GIVE_UP_GRACE_MS = HOUR  # a receiver may be down for a moment just when a courier starts again after days
CANCEL_GRACE_S = 5.0  # for cancelled work to clean up at shutdown

log = structlog.get_logger()


class Carrier(Protocol):
    """Delivers a batch to its receiver."""

    @property
    def connections(self) -> int:
        """How many batches can be delivered at a time."""

    async def carry(self, batch: Batch) -> StoreWrite | None:
        """Deliver a batch; what to write in the transaction that marks it done. Raises `DeliveryError`."""

    async def close(self) -> None:
        """Close what was opened."""


class Channel:
    """One channel. When its receiver fails throughout, it backs off for a while, and then tries a single item."""

    def __init__(self, name: str, carrier: Carrier, outcomes: Outcomes) -> None:
        self.name = name
        self._carrier = carrier
        self._outcomes = outcomes
        self._leases = outcomes.leases
        self._ready: deque[Batch] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False
        self._failures = 0
        self._backoff_until = 0
        self._failing_since = 0
        self._gave_up_on = ""
        """The last error of a receiver that failed so long that overdue items are given up."""
        self._ended = 0
        self._took_at = 0.0
        self._prefetch = MIN_PREFETCH_PER_CONNECTION * carrier.connections
        self._more_is_due = False
        self._store_is_down = False
        outcomes.listen(name, self._wake.set)

    async def run(self) -> None:
        """Work until told to stop; items in progress are finished."""
        while not self._stopping:
            self._wake.clear()  # before reading: items committed meanwhile must be read again
            try:
                taken = await self._fill()
                self._store_is_down = False
            except StoreUnavailable as error:
                if not self._store_is_down:  # else it would be said each second, for as long as that lasts
                    log.error("store is down", error=str(error), channel=self.name)
                taken, self._store_is_down = 0, True
            except Exception:  # else an error in one channel would end them all
                log.exception("courier failed", channel=self.name)
                taken = 0
            if not taken and not self._stopping:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_INTERVAL_S)
        await self._finish()

    def stop(self) -> None:
        """Lease no more items."""
        self._stopping = True
        self._wake.set()

    async def _fill(self) -> int:
        """Lease as much as there is room for; how many batches that were."""
        await self._release_ready()
        await self._give_up()
        room = self._room()
        if not room:
            return 0
        batches = await self._leases.take(self.name, room)
        self._more_is_due = len(batches) == room
        self._adapt()
        self._ready.extend(batches)
        self._start_workers()
        return len(batches)

    def _room(self) -> int:
        """How many batches to lease. None until half are begun, so that many are leased at a time."""
        waiting = len(self._ready) + len(self._workers)
        if self._is_failing():
            return 0 if waiting or self._is_backing_off() else 1
        return self._prefetch - waiting if waiting <= self._prefetch // 2 else 0

    def _adapt(self) -> None:
        """A fast receiver must not wait for the courier; for a slow one, most items are left to other couriers."""
        now = asyncio.get_running_loop().time()
        rate = self._ended / max(now - self._took_at, 0.001)
        least = MIN_PREFETCH_PER_CONNECTION * self._carrier.connections
        self._prefetch = max(min(int(rate * PREFETCH_S), MAX_PREFETCH_BATCHES), least)
        self._ended, self._took_at = 0, now

    def _start_workers(self) -> None:
        """As many workers as can deliver at a time, and no more than there is work for."""
        for _ in range(min(len(self._ready), self._carrier.connections - len(self._workers))):
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._worker_ended)

    async def _work(self) -> None:
        """Deliver one after the other, while there are any. Their outcomes are committed meanwhile, in groups."""
        while self._ready and self._may_begin():
            batch = self._ready.popleft()
            if not self._leases.holds(batch):
                continue
            error, follow_up = await self._carry(batch)
            if error is None:
                self._outcomes.mark_done(batch, follow_up)
            else:
                self._outcomes.mark_failed(batch, error)
            self._ended += 1
            if self._more_is_due and self._room():
                self._wake.set()

    async def _carry(self, batch: Batch) -> tuple[DeliveryError | None, StoreWrite | None]:
        item = batch[0]
        try:
            with self._leases.cancelled_when_lost(batch):
                follow_up = await self._carrier.carry(batch)
        except DeliveryError as error:
            self._back_off_after(error)
            log.error(
                "attempt failed",
                item=item.id,
                channel=self.name,
                target=item.target,
                error=str(error),
                temporary=error.temporary,
                attempt=item.attempts + 1,
            )
            return error, None
        except Exception as error:
            log.exception("attempt crashed", item=item.id, channel=self.name)
            return DeliveryError(repr(error)), None
        self._failures, self._backoff_until = 0, 0
        return None, follow_up

    def _back_off_after(self, error: DeliveryError) -> None:
        """A permanent failure is about the item; temporary ones, one after the other, are about the receiver."""
        if not error.temporary:
            self._failures, self._backoff_until = 0, 0
            return
        self._failures += 1
        if self._failures == self._carrier.connections:
            self._failing_since = self._leases.clock()
        if self._is_failing():
            if self._leases.clock() - self._failing_since >= GIVE_UP_GRACE_MS:
                self._gave_up_on = str(error)
            pause = queue.pause(self._failures - self._carrier.connections, self._leases.config.courier)
            backoff = min(max(pause, error.wait), MAX_BACKOFF_MS)
            self._backoff_until = self._leases.clock() + backoff
            log.warning("backing off", channel=self.name, backoff_ms=backoff)

    def _may_begin(self) -> bool:
        return not self._stopping and not self._is_backing_off()

    def _is_failing(self) -> bool:
        return self._failures >= self._carrier.connections

    def _is_backing_off(self) -> bool:
        return 0 < self._backoff_until - self._leases.clock() <= MAX_BACKOFF_MS  # longer: the clock was set back

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        """A worker found no more work, or lost the lease of its item: others go on with the rest."""
        self._workers.discard(worker)
        if not worker.cancelled() and worker.exception():
            log.error("courier failed", channel=self.name, error=repr(worker.exception()))
        if self._may_begin():
            self._start_workers()
        self._wake.set()

    async def _give_up(self) -> None:
        """Give up overdue items of a receiver that fails throughout, though most of them were never tried."""
        if self._gave_up_on:
            error, self._gave_up_on = self._gave_up_on, ""
            explanation = f"its receiver failed throughout; last: {error}"
            count = await give_up_overdue(self._leases.store, self.name, self._leases.clock(), explanation)
            if count:
                log.error("items given up", channel=self.name, count=count, error=error)

    async def _release_ready(self) -> None:
        """Release items that are not begun to other couriers at once, when this one stops or backs off."""
        if self._ready and not self._may_begin():
            batches = list(self._ready)
            self._ready.clear()
            await self._leases.release(batches)

    async def _finish(self) -> None:
        """Wait for items in progress, but not without limit."""
        drain_s = self._leases.config.courier.drain / 1000
        with suppress(TimeoutError):
            await asyncio.wait_for(self._release_ready(), drain_s)
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=drain_s)
            for worker in late:
                log.error("attempt cut off at shutdown", channel=self.name)
                worker.cancel()
            if late:
                await asyncio.wait(late, timeout=CANCEL_GRACE_S)
        await self._carrier.close()
