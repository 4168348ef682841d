"""Channel: works through the items of one hook or relay, so that a slow or dead one delays no other."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

import structlog

from retour_courier.failure import NotDone
from retour_courier.hands import Hands, Parcel, Work
from retour_policy import outbox
from retour_policy.clock import MINUTE
from retour_policy.errors import StoreUnavailable

LOOK_EVERY = 1.0  # seconds between looks at an empty outbox: one indexed read
AHEAD = 0.25  # seconds of work that are leased ahead, as fast as it went last
LEAST_AHEAD, MOST_AHEAD = 2, 64  # parcels leased for each that can be carried at a time
LONGEST_REST = 5 * MINUTE

log = structlog.get_logger()


class Carrier(Protocol):
    """Carries a parcel to where it is meant to go."""

    @property
    def connections(self) -> int:
        """How many can be carried at a time."""

    async def carry(self, parcel: Parcel) -> Work | None:
        """Carry it; what is to be written together with the note that it is done. Raises `NotDone`."""

    async def close(self) -> None:
        """Give back what was opened."""


class Channel:
    """One of them. When its receiver fails throughout, it rests for a while, and then tries a single item."""

    def __init__(self, name: str, carrier: Carrier, hands: Hands) -> None:
        self.name = name
        self._carrier = carrier
        self._hands = hands
        self._slots = asyncio.Semaphore(carrier.connections)
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False
        self._failures = 0
        self._rest_until = 0
        self._ended_since = 0
        self._took_at = 0.0
        self._ahead = LEAST_AHEAD * carrier.connections

    async def run(self) -> None:
        """Work until told to stop; what was begun is finished."""
        while not self._stopping:
            try:
                taken = await self._fill()
            except StoreUnavailable as error:
                log.error("store is down", error=str(error), channel=self.name)
                taken = 0
            self._wake.clear()
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
        room = self._room()
        if not room:
            return 0
        parcels = await self._hands.take(self.name, room)
        self._adapt()
        for parcel in parcels:
            task = asyncio.create_task(self._handle(parcel))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return len(parcels)

    def _room(self) -> int:
        """How many parcels to take. Not before half are done, so that they are taken many at a time."""
        if self._in_trouble():
            return 0 if self._tasks or self._resting() else 1
        return self._ahead - len(self._tasks) if len(self._tasks) <= self._ahead // 2 else 0

    def _adapt(self) -> None:
        """A quick receiver must not wait for us; of what a slow one gets, the most is left for other couriers."""
        now, connections = asyncio.get_running_loop().time(), self._carrier.connections
        rate = self._ended_since / max(now - self._took_at, 0.001)
        self._ahead = min(max(int(rate * AHEAD), LEAST_AHEAD * connections), MOST_AHEAD * connections)
        self._ended_since, self._took_at = 0, now

    async def _handle(self, parcel: Parcel) -> None:
        async with self._slots:
            if self._stopping or self._resting():
                await self._hands.release(parcel)
                return
            error, work = await self._carry(parcel)
        if error is None:
            await self._hands.done(parcel, work)
        else:
            await self._hands.failed(parcel, error)

    async def _carry(self, parcel: Parcel) -> tuple[NotDone | None, Work | None]:
        item = parcel[0]
        try:
            with self._hands.carrying(parcel):
                work = await self._carrier.carry(parcel)
        except NotDone as error:
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
            return NotDone(repr(error)), None
        self._failures, self._rest_until = 0, 0
        return None, work

    def _note_trouble(self, error: NotDone) -> None:
        """A permanent failure is about the item; temporary ones, one after the other, are about the receiver."""
        if not error.temporary:
            return
        self._failures += 1
        if self._in_trouble():
            rest = outbox.pause(self._failures - self._carrier.connections, self._hands.config.courier)
            self._rest_until = self._hands.clock() + min(rest, LONGEST_REST)
            log.warning("receiver rests", channel=self.name, rest_ms=min(rest, LONGEST_REST))

    def _in_trouble(self) -> bool:
        return self._failures >= self._carrier.connections

    def _resting(self) -> bool:
        return self._hands.clock() < self._rest_until

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ended_since += 1
        if self._room() or not self._tasks:
            self._wake.set()
        if not task.cancelled() and task.exception():
            log.error("a fault of the courier", channel=self.name, error=repr(task.exception()))

    async def _finish(self) -> None:
        """Wait for what is under way, but not for ever."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._hands.config.courier.drain / 1000)
            for task in late:
                log.error("cut off at the end", channel=self.name)
                task.cancel()
        await self._carrier.close()
