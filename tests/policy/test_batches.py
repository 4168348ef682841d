"""Long work in short transactions."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from retour_policy.errors import StoreUnavailable
from retour_policy.store import batches
from retour_policy.store.batches import in_batches
from retour_policy.store.database import Store


def test_a_transaction_ends_when_its_time_is_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five things at a time for as long as there is time; what takes longer by itself has a transaction of its own."""
    now, seen = [0.0], list[int]()
    monkeypatch.setattr(batches.time, "monotonic", lambda: now[0])

    def work(_: Connection, some: Sequence[int]) -> int:
        seen.extend(some)
        now[0] += 10 if 20 in some else batches.MAX_BATCH_MS / 1000 / 2.5
        return len(some) * 2

    found = list(in_batches(store, range(33), 5, work))
    assert found == [(15, 30), (10, 20), (8, 16)]
    assert seen == list(range(33))


class Deadlock(Exception):
    """As psycopg tells it."""

    sqlstate = "40P01"


def insert(connection: Connection, some: Sequence[int]) -> int:
    for number in some:
        connection.exec_driver_sql(f"INSERT INTO address (key, text) VALUES (x'{number:02}', 'a')")
    return len(some)


def inserted(store: Store) -> int:
    with store.reading() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM address").scalar() or 0)


@pytest.mark.parametrize("at", [0, 4, 8])
@pytest.mark.parametrize("times", [1, 4])
def test_what_a_deadlock_undid_is_done_again(store: Store, at: int, times: int) -> None:
    """Each thing once, in the same order, in transactions that lock no more than a few things."""
    left, done = [times], list[int]()

    def work(connection: Connection, some: Sequence[int]) -> int:
        insert(connection, some)
        if at in some and left[0]:
            left[0] -= 1
            raise OperationalError("UPDATE", {}, Deadlock())
        done.extend(some)
        return len(some)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "MAX_BATCH_MS", 60_000)
        found = list(in_batches(store, range(11), 3, work))
    assert inserted(store) == 11 == sum(number for number, _ in found)
    assert [result for _, result in found] == [number for number, _ in found]
    again = [3] * (at // 3 + 1)
    assert [number for number, _ in found][: len(again)] == again
    assert done[-11:] == list(range(11))


@pytest.mark.parametrize(
    ("fault", "times", "stays"), [(Deadlock(), 1 + batches.MAX_ATTEMPTS, 4), (Exception("disk I/O error"), 1, 0)]
)
def test_a_deadlock_without_end_is_an_error(store: Store, fault: Exception, times: int, stays: int) -> None:
    """And so is every other fault, at once; what could be done before is in the store."""
    calls = list[int]()

    def work(connection: Connection, some: Sequence[int]) -> int:
        if 4 in some:
            calls.append(1)
            raise OperationalError("UPDATE", {}, fault)
        return insert(connection, some)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StoreUnavailable):
        patch.setattr(batches, "MAX_BATCH_MS", 60_000)
        list(in_batches(store, range(6), 2, work))
    assert (len(calls), inserted(store)) == (times, stays)


def test_no_things_no_transaction(store: Store) -> None:
    """Nobody waits for nothing."""
    assert list(in_batches(store, [], 5, lambda _, __: 1 // 0)) == []


def test_what_was_done_before_a_fault_stays(store: Store) -> None:
    """Stopped in the third transaction: two are in the store."""

    def work(connection: Connection, some: Sequence[int]) -> int:
        if some == (2,):
            raise KeyboardInterrupt
        connection.exec_driver_sql(f"INSERT INTO address (key, text) VALUES (x'0{some[0]}', 'a')")
        return 1

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(batches, "MAX_BATCH_MS", 0)
        list(in_batches(store, range(5), 1, work))
    with store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM address").scalar() == 2
