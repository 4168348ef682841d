"""Hands: what one courier has in hand: it takes, holds on to, and notes what became of it."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import structlog
from sqlalchemy import Connection

from retour_courier.errors import DeliveryError
from retour_policy.clock import Clock
from retour_policy.config.model import Config
from retour_policy.errors import StoreUnavailable
from retour_policy.outbox import backlog
from retour_policy.outbox import forward_limit as pace
from retour_policy.outbox import queue as outbox
from retour_policy.outbox.queue import FORWARD, Failure, Item
from retour_policy.store.database import Store
from retour_policy.store.writer import Writer

T = TypeVar("T")
Parcel = Sequence[Item]
"""What is carried at once: one item, or those of a digest."""
Work = Callable[[Connection], None]


class Change(Protocol):
    """Changes some items."""

    def __call__(self, connection: Connection, ids: list[int]) -> object:
        """In one transaction."""


AGAIN = 1.0  # seconds until the store is asked again that did not answer
RENEWALS = 6  # in the time of one lease
GATHER = 0.05  # seconds in which notes gather before they are committed together
TOGETHER = 500  # items noted in one transaction, so that it stays short

log = structlog.get_logger()


@dataclass
class _Note:
    """What is to be written about a parcel."""

    parcel: Parcel
    works: tuple[Work, ...]
    failures: tuple[Failure, ...]


@dataclass
class Leases:
    """One courier's. All of it runs in the event loop; the store is asked in threads."""

    config: Config
    store: Store
    writer: Writer
    clock: Clock
    me: str = field(default_factory=lambda: f"{socket.gethostname()[:30]}-{os.getpid()}-{secrets.token_hex(4)}")
    _held: dict[int, asyncio.Task[None] | None] = field(default_factory=dict)
    _good_until: float = 0.0
    _notes: list[_Note] = field(default_factory=list)
    _noting: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _listeners: dict[str, Callable[[], None]] = field(default_factory=dict)

    def listen(self, channel: str, listener: Callable[[], None]) -> None:
        """Call back whenever something of the channel was noted: what stood behind it may go now."""
        self._listeners[channel] = listener

    def holds(self, parcel: Parcel) -> bool:
        """Whether the lease lasts: if not, somebody else may have begun."""
        return _monotonic() < self._good_until and all(item.id in self._held for item in parcel)

    async def take(self, channel: str, most: int) -> list[Parcel]:
        """Lease what is due in a channel, at most so many parcels. Raises `StoreUnavailable`."""
        due = await asyncio.to_thread(self._due, channel, most)
        ids = [number for number in due if number not in self._held]  # due while in hand: the clock has jumped
        if not ids:
            return []
        began = _monotonic()
        parcels: list[Parcel] = await self._write(lambda connection: self._lease(connection, channel, ids))
        if not self._held:
            self._good_until = began + self._lease_seconds
        for parcel in parcels:
            self._held |= {item.id: None for item in parcel}
        return parcels

    @contextmanager
    def carrying(self, parcel: Parcel) -> Iterator[None]:
        """While the block runs, losing the lease cancels it: somebody else may begin then."""
        task = asyncio.current_task()
        self._held |= {item.id: task for item in parcel}
        try:
            yield
        finally:
            for item in parcel:
                if item.id in self._held:
                    self._held[item.id] = None

    def done(self, parcel: Parcel, work: Work | None) -> None:
        """It was carried out: to be noted soon, together with what follows from that. Until then it is held."""
        self._note(_Note(parcel, (work,) if work else (), ()))

    def failed(self, parcel: Parcel, error: DeliveryError) -> None:
        """It was not: to be noted soon."""
        limits = self.config.courier
        failures = [
            Failure(one, str(error), not error.temporary, max(outbox.pause(one.attempts, limits), error.wait))
            for one in parcel
        ]
        self._note(_Note(parcel, (), tuple(failures)))

    async def noted(self, longest: float) -> None:
        """Wait until all that became of parcels is durable, but no more seconds than that."""
        end = _monotonic() + longest
        while self._notes or self._noting:
            if _monotonic() > end:
                log.error("not noted, will be done again", items=self._noting + len(self._notes))
                return
            await asyncio.sleep(GATHER)

    async def in_parts(self, find: Callable[[Connection], list[int]], change: Change) -> int:
        """Change all that can be found, a part at a time, so that nobody waits for the store; how many items.

        `find` finds a few hundred. What was changed must not be found again. Raises `StoreUnavailable`.
        """
        changed = 0
        while parts := await asyncio.to_thread(self._read, lambda one: outbox.by_size(one, find(one))):
            for ids in parts:
                await self._write(partial(change, ids=ids))
                changed += len(ids)
        return changed

    async def give_up(self, channel: str, words: str) -> int:
        """Make dead letters of what waits in a channel and is over time; how many. Raises `StoreUnavailable`."""
        now = self.clock()
        return await self.in_parts(
            lambda connection: backlog.given_up(connection, channel, now, TOGETHER),
            lambda connection, ids: backlog.bury(connection, ids, now, words),
        )

    async def release(self, parcels: Sequence[Parcel]) -> None:
        """Give back what was not begun. Where the store does not answer, its lease runs out."""
        ids = [item.id for parcel in parcels for item in parcel]
        self._drop(ids)
        try:
            await self._write(lambda connection: outbox.release(connection, ids, self.me, self.clock()))
        except StoreUnavailable as error:
            log.warning("not given back", items=ids, error=str(error))

    async def keep(self) -> None:
        """Renew the leases of what is in hand, and cancel what was lost, until cancelled."""
        while True:
            await asyncio.sleep(self._step)
            if not self._held:
                continue
            ids, began = list(self._held), _monotonic()
            try:
                mine = await asyncio.wait_for(self._write(partial(self._renew, ids)), self._step)
                self._good_until = began + self._lease_seconds
                self._lose(set(ids) - mine)
            except Exception as error:  # whatever it is, the leases run on
                log.error("leases not renewed", error=str(error) or "the store does not answer", items=len(ids))
                if _monotonic() + 2 * self._step > self._good_until - self._step / 2:  # the next look would be too late
                    self._lose(set(self._held))

    async def write_notes(self) -> None:
        """Commit notes in groups, until cancelled."""
        while True:
            await self._wake.wait()
            if len(self._notes) < TOGETHER:
                await asyncio.sleep(GATHER)
            group = self._next_group()
            if not self._notes:
                self._wake.clear()
            self._noting = len(group)
            await self._commit(group)
            self._noting = 0

    def _note(self, note: _Note) -> None:
        self._notes.append(note)
        self._wake.set()

    def _next_group(self) -> list[_Note]:
        """The notes for one transaction; one always fits."""
        number, octets = 0, 0
        for note in self._notes[:TOGETHER]:
            octets += sum(len(item.body) for item in note.parcel)
            if number and octets > outbox.OCTETS:
                break
            number += 1
        group, self._notes = self._notes[:number], self._notes[number:]
        return group

    async def _commit(self, group: list[_Note]) -> None:
        """Write a group of notes; where the store does not answer, again and again: it has been done."""
        while True:
            try:
                await self._write(partial(self._write_down, group))
                break
            except StoreUnavailable as error:
                log.error("store is down, not noted yet", error=str(error), items=len(group))
                await asyncio.sleep(AGAIN)
            except Exception as error:
                if len(group) > 1:
                    for note in group:
                        await self._commit([note])
                    return
                log.exception("cannot be noted", items=[item.id for item in group[0].parcel])
                group = [self._as_failure(group[0], error)]
        _tell(group)
        for note in group:
            self._drop([item.id for item in note.parcel])
        for channel in {note.parcel[0].channel for note in group}:
            self._listeners.get(channel, _nobody)()

    def _as_failure(self, note: _Note, error: Exception) -> _Note:
        """Kept to be seen, and not done again: it was carried out, but what follows from that cannot be written."""
        words = f"was carried out, but that cannot be noted: {error!r}"
        return _Note(note.parcel, (), tuple(Failure(one, words, True, 0) for one in note.parcel))

    def _write_down(self, group: list[_Note], connection: Connection) -> None:
        now = self.clock()
        gone = [item.id for note in group if not note.failures for item in note.parcel]
        outbox.failed(connection, [failure for note in group for failure in note.failures], self.me, now)
        for note in group:
            for work in note.works:
                with connection.begin_nested():
                    work(connection)
        if gone:
            outbox.done(connection, gone, self.me)

    def _due(self, channel: str, most: int) -> list[int]:
        now = self.clock()
        with self.store.reading() as connection:
            if channel == FORWARD and not pace.may_take(connection, now, self.config.forward):
                return []
            return outbox.due_ids(connection, channel, now, most)

    def _read(self, find: Callable[[Connection], T]) -> T:
        with self.store.reading() as connection:
            return find(connection)

    def _lease(self, connection: Connection, channel: str, ids: list[int]) -> list[Parcel]:
        now = self.clock()
        until = now + self.config.courier.lease
        if channel == FORWARD:
            return list(pace.take(connection, ids, self.me, now, until, self.config.forward))
        return [(item,) for item in outbox.take(connection, ids, self.me, now, until)]

    def _renew(self, ids: list[int], connection: Connection) -> set[int]:
        until, mine = self.clock() + self.config.courier.lease, set[int]()
        for start in range(0, len(ids), TOGETHER):
            mine |= outbox.renew(connection, ids[start : start + TOGETHER], self.me, until)
        return mine

    def _lose(self, ids: set[int]) -> None:
        for number in ids:
            task = self._held.pop(number, None)
            if task is not None:
                log.error("lease lost, stopped", item=number)
                task.cancel()

    def _drop(self, ids: list[int]) -> None:
        for number in ids:
            self._held.pop(number, None)

    @property
    def _lease_seconds(self) -> float:
        return self.config.courier.lease / 1000

    @property
    def _step(self) -> float:
        """Seconds between renewals, and how long one may take."""
        return self._lease_seconds / RENEWALS

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.wrap_future(self.writer.submit(work))


def _tell(group: list[_Note]) -> None:
    """One line in the log for all that was done in a channel, with the items' numbers."""
    done: dict[str, list[int]] = {}
    for note in group:
        if not note.failures:
            done.setdefault(note.parcel[0].channel, []).extend(item.id for item in note.parcel)
    for channel, items in done.items():
        log.info("done", channel=channel, items=items)


def _nobody() -> None:
    """Nobody listens."""


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
