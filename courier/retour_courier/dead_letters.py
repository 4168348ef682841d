"""Dead letters: what is given up without another try, and what is removed, however many items that is."""

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
    """Changes some items."""

    def __call__(self, connection: Connection, ids: list[int]) -> object:
        """In one transaction."""


async def give_up_overdue(store: AsyncStore, channel: str, now: int, error: str) -> int:
    """Give up what waits in a channel and is over time; how many items. Raises `StoreUnavailable`."""
    return await _change_all(
        store,
        lambda connection: outbox_backlog.read_overdue(connection, channel, now, MAX_FOUND_ITEMS),
        lambda connection, ids: outbox_backlog.make_dead(connection, ids, now, error),
    )


async def give_up_orphans(store: AsyncStore, channels: Sequence[str], before: int, now: int) -> int:
    """Give up what waits since `before` in none of `channels`; how many items. Raises `StoreUnavailable`."""
    return await _change_all(
        store,
        lambda connection: outbox_backlog.read_orphans(connection, channels, before, now, MAX_FOUND_ITEMS),
        lambda connection, ids: outbox_backlog.make_dead(connection, ids, now, NO_CHANNEL),
    )


async def remove_old(store: AsyncStore, before: int) -> int:
    """Remove the dead letters that became so before then; how many. Raises `StoreUnavailable`."""
    return await _change_all(
        store,
        lambda connection: outbox_backlog.read_dead(connection, before, MAX_FOUND_ITEMS),
        outbox_selection.drop,
    )


async def _change_all(store: AsyncStore, find: Callable[[Connection], list[int]], change: Change) -> int:
    """Change all that can be found, a batch at a time, so that nobody waits for the store; how many items.

    `find` finds a few hundred. What was changed must not be found again.
    """
    changed = 0
    while batches := await store.read(lambda connection: by_size(connection, find(connection))):
        for ids in batches:
            await store.write(partial(change, ids=ids))
            changed += len(ids)
    return changed
