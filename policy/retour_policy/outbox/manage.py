"""Manage: items of the outbox listed and tried again by hand, and changed a few megabytes at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from retour_policy.clock import is_ahead
from retour_policy.outbox.queue import GIVE_UP_AFTER_MS
from retour_policy.store import outbox, outbox_backlog, outbox_selection
from retour_policy.store.database import Store
from retour_policy.store.outbox import Item
from retour_policy.store.outbox_backlog import ItemTimes

MAX_BATCH_ITEMS = 200  # that are read or changed in one transaction
MAX_BATCH_OCTETS = (
    4_000_000  # of items changed in one transaction: databases rewrite a changed row whole, with its body
)


def iterate(store: Store, ids: Sequence[int], *, bodies: bool) -> Iterator[Item]:
    """The items, a batch at a time: together they may be larger than the memory. Raises `StoreUnavailable`.

    No transaction is open while the caller handles an item.
    """
    for batch in iterate_batches(store, ids) if bodies else _by_number(ids):
        with store.reading() as connection:
            items = outbox_selection.read(connection, batch, bodies=bodies)
        yield from items


def iterate_batches(store: Store, ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """The ids in batches small enough that changing one blocks nobody for long. Raises `StoreUnavailable`."""
    for some in _by_number(ids):
        with store.reading() as connection:
            batches = by_size(connection, some)
        yield from batches


def by_size(connection: Connection, ids: Sequence[int]) -> list[list[int]]:
    """A few hundred ids in batches of at most `MAX_BATCH_OCTETS`; one item always fits."""
    sizes = outbox.read_sizes(connection, ids)
    batches, room = list[list[int]](), 0
    for number in ids:
        size = sizes.get(number, 0)
        if not batches or size > room:
            batches.append([])
            room = MAX_BATCH_OCTETS
        batches[-1].append(number)
        room -= size
    return batches


def retry(connection: Connection, ids: Sequence[int], now: int) -> int:
    """Try these again at once, and for three days from now; how many that were. Leased items are skipped."""
    return outbox_selection.retry(connection, ids, now, now + GIVE_UP_AFTER_MS)


def bring_back(connection: Connection, now: int, lease: int) -> int:
    """Set right some items that a clock which was ahead has dated; how many; 0: there are none.

    They are due as long after now as they were after they were queued; those that were put off or leased, at once.
    """
    found = outbox_backlog.read_ahead(connection, now, lease, MAX_BATCH_ITEMS)
    outbox_backlog.bring_back(connection, [_brought_back(one, now) for one in found])
    return len(found)


def _brought_back(one: ItemTimes, now: int) -> ItemTimes:
    if not is_ahead(one.at, now):
        return replace(one, due=now)
    due = min(one.due, one.give_up - GIVE_UP_AFTER_MS)  # first, before it was put off or leased
    return ItemTimes(one.id, now, now + max(0, due - one.at), now + one.give_up - one.at)


def _by_number(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + MAX_BATCH_ITEMS] for start in range(0, len(ids), MAX_BATCH_ITEMS))
