"""Long work in short transactions."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import Connection

from retour_policy import portions
from retour_policy.portions import in_portions
from retour_policy.store import Store


def test_a_transaction_ends_when_its_time_is_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five things at a time for as long as there is time; what takes longer by itself has a transaction of its own."""
    now, seen = [0.0], list[int]()
    monkeypatch.setattr(portions.time, "monotonic", lambda: now[0])

    def work(_: Connection, some: Sequence[int]) -> int:
        seen.extend(some)
        now[0] += 10 if 20 in some else portions.LONGEST / 2.5
        return len(some) * 2

    found = list(in_portions(store, range(33), 5, work))
    assert found == [(15, 30), (10, 20), (8, 16)]
    assert seen == list(range(33))


def test_no_things_no_transaction(store: Store) -> None:
    """Nobody waits for nothing."""
    assert list(in_portions(store, [], 5, lambda _, __: 1 // 0)) == []


def test_what_was_done_before_a_fault_stays(store: Store) -> None:
    """Stopped in the third transaction: two are in the store."""

    def work(connection: Connection, some: Sequence[int]) -> int:
        if some == (2,):
            raise KeyboardInterrupt
        connection.exec_driver_sql(f"INSERT INTO address (key, text) VALUES (x'0{some[0]}', 'a')")
        return 1

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(portions, "LONGEST", 0)
        list(in_portions(store, range(5), 1, work))
    with store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM address").scalar() == 2
