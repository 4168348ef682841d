"""Async store: the store as an event loop may use it, which must never wait for a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection

from retour_policy.store.database import Store
from retour_policy.store.writer import Writer

T = TypeVar("T")


@dataclass(frozen=True)
class AsyncStore:
    """Reads in threads, and writes in the writer's groups."""

    store: Store
    writer: Writer

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, in a transaction of its own. Raises `StoreUnavailable`, or what the work raised."""
        return await asyncio.to_thread(self._read, work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """The same once it is committed. Raises `StoreUnavailable`, or what the work raised."""
        return await asyncio.wrap_future(self.writer.submit(work))

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self.store.reading() as connection:
            return work(connection)
