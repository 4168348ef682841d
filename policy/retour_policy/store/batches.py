"""Batches: long work on many things, in transactions so short that other writers hardly wait."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from retour_policy.errors import StoreUnavailable
from retour_policy.store.database import Store, is_deadlock

T = TypeVar("T")
MAX_BATCH_MS = 20  # after which a transaction takes no more work; with its commit it may last 100
MAX_ATTEMPTS = 5  # of each small transaction, when deadlocks have undone it


def in_batches(
    store: Store, things: Iterable[T], size: int, work: Callable[[Connection, Sequence[T]], int]
) -> Iterator[tuple[int, int]]:
    """Do `work` on `size` things at a time; yields after each transaction how many were in it, and what work returned.

    Work that a deadlock with another host undid is done again, then in smaller transactions. Callers that lock rows in
    order within these cannot deadlock with each other. No transaction is open while the caller handles what is yielded.
    Raises `StoreUnavailable`.
    """
    source, undone, attempts = iter(things), list[Sequence[T]](), 0

    def following() -> Sequence[T]:
        return undone.pop() if undone else tuple(itertools.islice(source, size))

    while True:
        alone = bool(undone)
        taken = [following()]
        if not taken[0]:
            return
        try:
            result = _one_batch(store, taken, following, work, 0 if alone else MAX_BATCH_MS)
        except StoreUnavailable as error:
            attempts += alone
            if attempts == MAX_ATTEMPTS or not is_deadlock(error.__cause__ or error):
                raise
            undone += reversed(taken)
            continue
        attempts = 0
        yield sum(map(len, taken)), result


def _one_batch(
    store: Store,
    taken: list[Sequence[T]],
    following: Callable[[], Sequence[T]],
    work: Callable[[Connection, Sequence[T]], int],
    max_ms: int,
) -> int:
    """Do the first piece of work, and more until `max_ms` are over, in one transaction; what work returned."""
    with store.writing() as connection:
        ends = time.monotonic() + max_ms / 1000
        result = work(connection, taken[0])
        while time.monotonic() < ends and (things := following()):
            taken.append(things)
            result += work(connection, things)
    return result
