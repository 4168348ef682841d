"""Manage: items of the outbox listed and tried again by hand, and changed a few megabytes at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from retour_policy.outbox.queue import GIVE_UP_AFTER_MS
from retour_policy.store import outbox, outbox_selection
from retour_policy.store.database import Store
from retour_policy.store.outbox import Item

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


def _by_number(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + MAX_BATCH_ITEMS] for start in range(0, len(ids), MAX_BATCH_ITEMS))
