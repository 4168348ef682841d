"""Leases: the items of one courier: leases and renews them, and stops work on an item whose lease is lost."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog
from sqlalchemy import Connection

from retour_courier.async_store import AsyncStore
from retour_policy.clock import Clock
from retour_policy.config.model import Config
from retour_policy.errors import StoreUnavailable
from retour_policy.outbox import forward_limit
from retour_policy.outbox.queue import FORWARD
from retour_policy.store import outbox
from retour_policy.store.outbox import Item

Batch = Sequence[Item]
"""Items that are carried out together: a single one, or those of a digest."""
RENEWALS_PER_LEASE = 6
MAX_RENEWED_ITEMS = 500  # in one statement

log = structlog.get_logger()


@dataclass
class Leases:
    """The leases of one courier. All of it runs in the event loop."""

    config: Config
    store: AsyncStore
    clock: Clock
    me: str = field(default_factory=lambda: f"{socket.gethostname()[:30]}-{os.getpid()}-{secrets.token_hex(4)}")
    _held: dict[int, asyncio.Task[None] | None] = field(default_factory=dict)
    _good_until: float = 0.0

    def holds(self, batch: Batch) -> bool:
        """Whether the lease still lasts: if not, another courier may have begun."""
        return _monotonic() < self._good_until and all(item.id in self._held for item in batch)

    async def take(self, channel: str, limit: int) -> list[Batch]:
        """Lease what is due in a channel, at most this many batches. Raises `StoreUnavailable`."""
        due = await self.store.read(partial(self._read_due, channel, limit))
        ids = [number for number in due if number not in self._held]  # due while leased: the clock has jumped
        if not ids:
            return []
        began = _monotonic()
        batches = await self.store.write(partial(self._lease, channel, ids))
        if not self._held:
            self._good_until = began + self._lease_s
        for batch in batches:
            self._held |= {item.id: None for item in batch}
        return batches

    @contextmanager
    def cancelled_when_lost(self, batch: Batch) -> Iterator[None]:
        """While the block runs, losing the lease cancels it, because another courier may begin then."""
        task = asyncio.current_task()
        self._held |= {item.id: task for item in batch}
        try:
            yield
        finally:
            for item in batch:
                if item.id in self._held:
                    self._held[item.id] = None

    async def release(self, batches: Sequence[Batch]) -> None:
        """Release items that were not begun. If the store does not answer, their leases run out."""
        ids = [item.id for batch in batches for item in batch]
        self.forget(ids)
        try:
            await self.store.write(lambda connection: outbox.release(connection, ids, self.me, self.clock()))
        except StoreUnavailable as error:
            log.warning("leases not released", items=ids, error=str(error))

    def forget(self, ids: Iterable[int]) -> None:
        """Drop these leases: they were released in the store, or will not be renewed."""
        for number in ids:
            self._held.pop(number, None)

    async def keep_renewing(self) -> None:
        """Renew the leases, and cancel the work on items whose lease was lost, until cancelled."""
        while True:
            await asyncio.sleep(self._renewal_s)
            if not self._held:
                continue
            ids, began = list(self._held), _monotonic()
            try:
                mine = await asyncio.wait_for(self.store.write(partial(self._renew, ids)), self._renewal_s)
                self._good_until = began + self._lease_s
                self._lose(set(ids) - mine)
            except Exception as error:  # any error: the leases still run, so try again
                log.error("leases not renewed", error=str(error) or "the store does not answer", count=len(ids))
                next_would_be_too_late = _monotonic() + 2 * self._renewal_s > self._good_until - self._renewal_s / 2
                if next_would_be_too_late:
                    self._lose(set(self._held))

    def _read_due(self, channel: str, limit: int, connection: Connection) -> list[int]:
        now = self.clock()
        if channel == FORWARD and not forward_limit.may_take(connection, now, self.config.forward):
            return []
        return outbox.read_due_ids(connection, channel, now, limit)

    def _lease(self, channel: str, ids: list[int], connection: Connection) -> list[Batch]:
        now = self.clock()
        until = now + self.config.courier.lease
        if channel == FORWARD:
            return list(forward_limit.take(connection, ids, self.me, now, until, self.config.forward))
        return [(item,) for item in outbox.take(connection, ids, self.me, now, until)]

    def _renew(self, ids: list[int], connection: Connection) -> set[int]:
        until, mine = self.clock() + self.config.courier.lease, set[int]()
        for start in range(0, len(ids), MAX_RENEWED_ITEMS):
            mine |= outbox.renew(connection, ids[start : start + MAX_RENEWED_ITEMS], self.me, until)
        return mine

    def _lose(self, ids: set[int]) -> None:
        for number in ids:
            task = self._held.pop(number, None)
            if task is not None:
                log.error("lease lost, attempt cancelled", item=number)
                task.cancel()

    @property
    def _lease_s(self) -> float:
        return self.config.courier.lease / 1000

    @property
    def _renewal_s(self) -> float:
        """Seconds between renewals, and how long one may take."""
        return self._lease_s / RENEWALS_PER_LEASE


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
