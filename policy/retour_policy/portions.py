"""Portions: long work on many things, in transactions so short that no other writer has to wait."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from retour_policy.store import Store

T = TypeVar("T")
LONGEST = 0.03  # seconds after which a transaction takes no more; 0.1 is what it may last, its commit included


def in_portions(
    store: Store, things: Iterable[T], few: int, work: Callable[[Connection, Sequence[T]], int]
) -> Iterator[tuple[int, int]]:
    """Do `work` on a few things at a time; yields after each transaction how many were in it, and what work returned.

    Whoever takes what is yielded may dawdle: no transaction is open then.
    """
    source = iter(things)
    some = tuple(itertools.islice(source, few))
    while some:
        done = result = 0
        with store.writing() as connection:
            ends = time.monotonic() + LONGEST
            while some and (not done or time.monotonic() < ends):
                result += work(connection, some)
                done += len(some)
                some = tuple(itertools.islice(source, few))
        yield done, result
