"""Dead letters: items given up without another try, and items removed, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from sqlalchemy import Connection

from retour_courier.async_store import AsyncStore
from retour_policy.outbox.manage import by_size
from retour_policy.store import outbox_backlog, outbox_selection

MAX_FOUND_ITEMS = 500  # at a time
NO_CHANNEL = "no such hook or relay in the configuration"


class Change(Protocol):
    """Changes some items, in one transaction."""

    def __call__(self, connection: Connection, ids: list[int]) -> object:
        """In one transaction."""


async def give_up_overdue(store: AsyncStore, channel: str, now: int, error: str) -> int:
    """Give up overdue items of a channel; how many. Raises `StoreUnavailable`."""
    return await _change_all(
        store,
        lambda connection: outbox_backlog.read_overdue(connection, channel, now, MAX_FOUND_ITEMS),
        lambda connection, ids: outbox_backlog.make_dead(connection, ids, now, error),
    )


async def give_up_orphans(store: AsyncStore, channels: Sequence[str], before: int, now: int) -> int:
    """Give up items that wait since `before` and are in none of `channels`; how many. Raises `StoreUnavailable`."""
    return await _change_all(
        store,
        lambda connection: outbox_backlog.read_orphans(connection, channels, before, now, MAX_FOUND_ITEMS),
        lambda connection, ids: outbox_backlog.make_dead(connection, ids, now, NO_CHANNEL),
    )


async def remove_old(store: AsyncStore, before: int) -> int:
    """Remove items that became dead letters before then; how many. Raises `StoreUnavailable`."""
    return await _change_all(
        store,
        lambda connection: outbox_backlog.read_dead(connection, before, MAX_FOUND_ITEMS),
        outbox_selection.drop,
    )


async def _change_all(store: AsyncStore, find: Callable[[Connection], list[int]], change: Change) -> int:
    """Change all items that are found, a batch at a time, so that nobody waits for the store; how many.

    `find` finds a few hundred. What was changed must not be found again.
    """
    changed = 0
    while batches := await store.read(lambda connection: by_size(connection, find(connection))):
        for ids in batches:
            await store.write(partial(change, ids=ids))
            changed += len(ids)
    return changed
