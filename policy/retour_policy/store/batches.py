"""Portions: long work on many things, in transactions so short that no other writer has to wait."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from retour_policy.errors import StoreUnavailable
from retour_policy.store.database import Store, is_deadlock

T = TypeVar("T")
LONGEST = 0.02  # seconds after which a transaction takes no more; 0.1 is what it may last, its commit included
TRIES = 5  # of a few things by themselves, when a deadlock has undone a transaction


def in_portions(
    store: Store, things: Iterable[T], few: int, work: Callable[[Connection, Sequence[T]], int]
) -> Iterator[tuple[int, int]]:
    """Do `work` on a few things at a time; yields after each transaction how many were in it, and what work returned.

    What a deadlock with another host undid is done again, then with a few things to the transaction: who locks rows in
    order within these meets no other that does so. Whoever takes what is yielded may dawdle: no transaction is open
    then. Raises `StoreUnavailable`.
    """
    source, undone, tries = iter(things), list[Sequence[T]](), 0

    def following() -> Sequence[T]:
        return undone.pop() if undone else tuple(itertools.islice(source, few))

    while True:
        alone = bool(undone)
        taken = [following()]
        if not taken[0]:
            return
        try:
            result = _portion(store, taken, following, work, 0 if alone else LONGEST)
        except StoreUnavailable as error:
            tries += alone
            if tries == TRIES or not is_deadlock(error.__cause__ or error):
                raise
            undone += reversed(taken)
            continue
        tries = 0
        yield sum(map(len, taken)), result


def _portion(
    store: Store,
    taken: list[Sequence[T]],
    following: Callable[[], Sequence[T]],
    work: Callable[[Connection, Sequence[T]], int],
    longest: float,
) -> int:
    """Do what is taken, and take more until `longest` seconds are over, in one transaction; what work returned."""
    with store.writing() as connection:
        ends = time.monotonic() + longest
        result = work(connection, taken[0])
        while time.monotonic() < ends and (some := following()):
            taken.append(some)
            result += work(connection, some)
    return result
