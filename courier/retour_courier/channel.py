"""Channel: works through the items of one hook or relay, so that a slow or dead one delays no other."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Protocol

import structlog

from retour_courier.errors import DeliveryError
from retour_courier.leases import Leases, Parcel, Work
from retour_policy.clock import HOUR, MINUTE
from retour_policy.errors import StoreUnavailable
from retour_policy.outbox import queue as outbox

LOOK_EVERY = 1.0  # seconds between looks at an empty outbox: one indexed read
AHEAD = 0.25  # seconds of work that are leased ahead, as fast as it went last
LEAST_AHEAD = 2  # parcels leased for each that can be carried at a time
MOST_AHEAD = 2_000  # parcels leased
LONGEST_REST = 5 * MINUTE
PATIENCE = HOUR  # a receiver may be away for a moment just when a courier comes back after days
CUTTING = 5.0  # seconds that what is cut off at the end has for tidying up

log = structlog.get_logger()


class Carrier(Protocol):
    """Carries a parcel to where it is meant to go."""

    @property
    def connections(self) -> int:
        """How many can be carried at a time."""

    async def carry(self, parcel: Parcel) -> Work | None:
        """Carry it; what is to be written together with the note that it is done. Raises `DeliveryError`."""

    async def close(self) -> None:
        """Give back what was opened."""


class Channel:
    """One of them. When its receiver fails throughout, it rests for a while, and then tries a single item."""

    def __init__(self, name: str, carrier: Carrier, hands: Leases) -> None:
        self.name = name
        self._carrier = carrier
        self._hands = hands
        self._ready: deque[Parcel] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False
        self._failures = 0
        self._rest_until = 0
        self._trouble_since = 0
        self._hopeless = ""
        self._ended_since = 0
        self._took_at = 0.0
        self._ahead = LEAST_AHEAD * carrier.connections
        self._more = False
        hands.listen(name, self._wake.set)

    async def run(self) -> None:
        """Work until told to stop; what was begun is finished."""
        while not self._stopping:
            self._wake.clear()  # before the look: what is noted during it must be looked at again
            try:
                taken = await self._fill()
            except StoreUnavailable as error:
                log.error("store is down", error=str(error), channel=self.name)
                taken = 0
            except Exception:  # or one channel's fault would end them all
                log.exception("a fault of the courier", channel=self.name)
                taken = 0
            if not taken and not self._stopping:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOOK_EVERY)
        await self._finish()

    def stop(self) -> None:
        """Take no more."""
        self._stopping = True
        self._wake.set()

    async def _fill(self) -> int:
        """Take as much as there is room for; how many parcels that were."""
        await self._give_back()
        await self._give_up()
        room = self._room()
        if not room:
            return 0
        parcels = await self._hands.take(self.name, room)
        self._more = len(parcels) == room
        self._adapt()
        self._ready.extend(parcels)
        self._employ()
        return len(parcels)

    def _room(self) -> int:
        """How many parcels to take. Not before half are begun, so that they are taken many at a time."""
        waiting = len(self._ready) + len(self._workers)
        if self._in_trouble():
            return 0 if waiting or self._resting() else 1
        return self._ahead - waiting if waiting <= self._ahead // 2 else 0

    def _adapt(self) -> None:
        """A quick receiver must not wait for us; of what a slow one gets, the most is left for other couriers."""
        now = asyncio.get_running_loop().time()
        rate = self._ended_since / max(now - self._took_at, 0.001)
        self._ahead = max(min(int(rate * AHEAD), MOST_AHEAD), LEAST_AHEAD * self._carrier.connections)
        self._ended_since, self._took_at = 0, now

    def _employ(self) -> None:
        """As many workers as can carry at a time, and no more than there is work for."""
        for _ in range(min(len(self._ready), self._carrier.connections - len(self._workers))):
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._left)

    async def _work(self) -> None:
        """Carry one after the other, while there are any. What becomes of them is noted meanwhile, in groups."""
        while self._ready and self._may_begin():
            parcel = self._ready.popleft()
            if not self._hands.holds(parcel):
                continue
            error, work = await self._carry(parcel)
            if error is None:
                self._hands.done(parcel, work)
            else:
                self._hands.failed(parcel, error)
            self._ended_since += 1
            if self._more and self._room():
                self._wake.set()

    async def _carry(self, parcel: Parcel) -> tuple[DeliveryError | None, Work | None]:
        item = parcel[0]
        try:
            with self._hands.carrying(parcel):
                work = await self._carrier.carry(parcel)
        except DeliveryError as error:
            self._note_trouble(error)
            log.error(
                "not done",
                item=item.id,
                channel=self.name,
                target=item.target,
                error=str(error),
                temporary=error.temporary,
                attempt=item.attempts + 1,
            )
            return error, None
        except Exception as error:
            log.exception("carrying failed", item=item.id, channel=self.name)
            return DeliveryError(repr(error)), None
        self._failures, self._rest_until = 0, 0
        return None, work

    def _note_trouble(self, error: DeliveryError) -> None:
        """A permanent failure is about the item; temporary ones, one after the other, are about the receiver."""
        if not error.temporary:
            self._failures, self._rest_until = 0, 0
            return
        self._failures += 1
        if self._failures == self._carrier.connections:
            self._trouble_since = self._hands.clock()
        if self._in_trouble():
            if self._hands.clock() - self._trouble_since >= PATIENCE:
                self._hopeless = str(error)
            pause = outbox.pause(self._failures - self._carrier.connections, self._hands.config.courier)
            rest = min(max(pause, error.wait), LONGEST_REST)
            self._rest_until = self._hands.clock() + rest
            log.warning("receiver rests", channel=self.name, rest_ms=rest)

    def _may_begin(self) -> bool:
        return not self._stopping and not self._resting()

    def _in_trouble(self) -> bool:
        return self._failures >= self._carrier.connections

    def _resting(self) -> bool:
        return 0 < self._rest_until - self._hands.clock() <= LONGEST_REST  # longer: the clock was set back

    def _left(self, worker: asyncio.Task[None]) -> None:
        """A worker found no more work, or lost the lease of what it had in hand: others go on with the rest."""
        self._workers.discard(worker)
        if not worker.cancelled() and worker.exception():
            log.error("a fault of the courier", channel=self.name, error=repr(worker.exception()))
        if self._may_begin():
            self._employ()
        self._wake.set()

    async def _give_up(self) -> None:
        """Of what waits for a receiver that fails throughout most was never tried; its time is over all the same."""
        if self._hopeless:
            words, self._hopeless = self._hopeless, ""
            buried = await self._hands.give_up(self.name, f"its receiver failed throughout; last: {words}")
            if buried:
                log.error("given up", channel=self.name, items=buried, error=words)

    async def _give_back(self) -> None:
        """What is not begun is free for other couriers at once, when this one stops or its receiver rests."""
        if self._ready and not self._may_begin():
            parcels = list(self._ready)
            self._ready.clear()
            await self._hands.release(parcels)

    async def _finish(self) -> None:
        """Wait for what is under way, but not for ever."""
        drain = self._hands.config.courier.drain / 1000
        with suppress(TimeoutError):
            await asyncio.wait_for(self._give_back(), drain)
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=drain)
            for worker in late:
                log.error("cut off at the end", channel=self.name)
                worker.cancel()
            if late:
                await asyncio.wait(late, timeout=CUTTING)
        await self._carrier.close()
