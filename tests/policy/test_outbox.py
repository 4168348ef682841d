"""The outbox: leases, order, pauses and dead letters, item by item."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retour_policy.clock import DAY, HOUR, MINUTE, SECOND
from retour_policy.config.courier import CourierSection
from retour_policy.outbox import manage, queue
from retour_policy.outbox.queue import Failure
from retour_policy.store import outbox, outbox_backlog, outbox_selection
from retour_policy.store.database import Store
from retour_policy.store.outbox import Item, NewItem
from retour_policy.store.outbox_selection import ItemFilter

NOW = 1_800_000_000_000
LIMITS = CourierSection()
CHANNEL = "hook:app"


def put(store: Store, *ats: int, ordering: int | None = None, channel: str = CHANNEL) -> None:
    with store.writing() as connection:
        for at in ats:
            queue.put(connection, NewItem(at, "event", channel, "paused", b"{}", ordering=ordering))


def take(store: Store, now: int, most: int = 10, me: str = "me") -> list[Item]:
    with store.writing() as connection:
        ids = outbox.read_due_ids(connection, CHANNEL, now, most)
        return outbox.take(connection, ids, me, now, now + MINUTE)


def listed(store: Store) -> list[Item]:
    with store.reading() as connection:
        return outbox_selection.read(connection, outbox_selection.read_ids(connection, ItemFilter()))


def test_an_item_is_leased_to_one_courier(store: Store) -> None:
    """The longest due first; another courier does not get it until the lease is over; done, it is gone."""
    put(store, NOW + 2, NOW + 1, NOW + HOUR)
    items = take(store, NOW + 2)
    assert {item.at for item in items} == {NOW + 1, NOW + 2}
    assert take(store, NOW + 2, me="you") == []
    assert len(take(store, NOW + 2 + MINUTE, 1, me="you")) == 1
    with store.writing() as connection:
        assert outbox.finish(connection, [item.id for item in items], "me") == 1  # the other is yours now
        assert outbox.renew(connection, [item.id for item in items], "you", NOW + HOUR)
    assert len(listed(store)) == 2


def test_who_has_lost_the_lease_changes_nothing(store: Store) -> None:
    """Neither done nor failed nor given back."""
    put(store, NOW)
    (item,) = take(store, NOW, me="first")
    take(store, NOW + MINUTE, me="second")
    before = listed(store)
    with store.writing() as connection:
        outbox.finish(connection, [item.id], "first")
        outbox.release(connection, [item.id], "first", NOW)
        queue.fail(connection, [Failure(item, "no", True, 0)], "first", NOW)
        assert outbox.renew(connection, [item.id], "first", NOW + DAY) == set()
    assert listed(store) == before


def test_only_the_first_of_an_order_is_taken(store: Store) -> None:
    """Until it is done or dead; a lease that has run out keeps its place."""
    put(store, NOW, NOW, ordering=7)
    put(store, NOW, ordering=8)
    put(store, NOW, ordering=7, channel="hook:other")
    first, other = take(store, NOW)
    assert (first.ordering, other.ordering) == (7, 8)
    assert take(store, NOW) == []
    assert [item.id for item in take(store, NOW + MINUTE, me="you")] == [first.id, other.id]
    with store.writing() as connection:
        queue.fail(connection, [Failure(first, "no", True, 0)], "you", NOW)
    (second,) = take(store, NOW + MINUTE)
    assert second.ordering == 7


def test_pauses_grow_up_to_the_longest_and_differ_by_chance() -> None:
    """10 s, 30, 90 ... 6 h, a fifth more or less."""
    middle = [queue.pause(n, LIMITS, 0.5) for n in range(12)]
    assert middle[:4] == [10 * SECOND, 30 * SECOND, 90 * SECOND, 270 * SECOND]
    assert middle[-1] == middle[-2] == 6 * HOUR
    assert [queue.pause(0, LIMITS, chance) for chance in (0, 1)] == [8 * SECOND, 12 * SECOND]


@given(attempts=st.integers(0, 10**9), chance=st.floats(0, 1))
def test_no_pause_is_longer_than_the_longest_and_its_fifth(attempts: int, chance: float) -> None:
    """However often it was tried."""
    assert 0 < queue.pause(attempts, LIMITS, chance) <= LIMITS.longest_pause * 1.2 + 1


@pytest.mark.parametrize("permanent", [True, False])
def test_a_dead_letter_is_kept_and_can_be_tried_again(store: Store, permanent: bool) -> None:
    """Refused for good, or for 72 hours: with its error, never taken by itself; by hand it has 72 hours again."""
    put(store, NOW)
    at = NOW if permanent else NOW + 71 * HOUR
    (item,) = take(store, at)
    with store.writing() as connection:
        queue.fail(connection, [Failure(item, "550 no", permanent, 2 * HOUR)], "me", at)
    assert take(store, NOW + 100 * DAY) == []
    (dead,) = listed(store)
    assert (dead.failed, dead.error, dead.attempts) == (1, "550 no", 1)
    with store.writing() as connection:
        assert manage.retry(connection, [item.id], NOW + DAY) == 1
    (again,) = take(store, NOW + DAY)
    assert (again.uid, again.attempts, again.give_up) == (item.uid, 0, NOW + 4 * DAY)


def test_what_is_in_hand_is_not_tried_again_by_hand(store: Store) -> None:
    """Or two couriers would have it; when its lease is over, it is in nobody's hand."""
    put(store, NOW)
    (item,) = take(store, NOW)
    with store.writing() as connection:
        assert manage.retry(connection, [item.id], NOW) == 0
        assert manage.retry(connection, [item.id], NOW + MINUTE + 1) == 1
    assert len(take(store, NOW + MINUTE + 1, me="you")) == 1


def test_what_waits_for_a_channel_that_is_gone_is_a_dead_letter(store: Store) -> None:
    """After an hour, so that hosts can learn of a new hook one after the other; never what is leased to another."""
    put(store, NOW)
    put(store, NOW, channel="hook:other")
    with store.writing() as connection:
        assert outbox_backlog.read_orphans(connection, [CHANNEL], NOW, NOW, 9) == []
        assert outbox_backlog.read_orphans(connection, [CHANNEL], NOW + 1, NOW, 9) == [2]
        outbox.take(connection, [2], "another", NOW, NOW + MINUTE)
        assert outbox_backlog.read_orphans(connection, [CHANNEL], NOW + 1, NOW, 9) == []
        outbox_backlog.make_dead(connection, [2], NOW, "no such hook")
        assert outbox_backlog.read_orphans(connection, [CHANNEL], NOW + 1, NOW + MINUTE + 1, 9) == [2]
        outbox_backlog.make_dead(connection, [2], NOW + MINUTE, "no such hook")
    assert [(item.channel, item.failed) for item in listed(store)] == [(CHANNEL, 0), ("hook:other", 1)]


def test_dead_letters_grow_old_from_their_death_on(store: Store) -> None:
    """What waits stays, however old."""
    put(store, NOW, NOW, NOW)
    first, second, _ = take(store, NOW)
    with store.writing() as connection:
        queue.fail(connection, [Failure(first, "no", True, 0)], "me", NOW)
        queue.fail(connection, [Failure(second, "no", True, HOUR)], "me", NOW + DAY)
        assert outbox_backlog.read_dead(connection, NOW, 10) == []
        assert outbox_backlog.read_dead(connection, NOW + DAY, 10) == [first.id]
        assert outbox_backlog.read_dead(connection, NOW + DAY + 1, 10) == [first.id, second.id]


@pytest.mark.sqlite
@pytest.mark.parametrize("sql", ["take", "make_dead"])
def test_leasing_looks_at_the_items_it_is_given_and_at_no_others(store: Store, sql: str) -> None:
    """However many wait: by their number, where the index of what is due would lead through all of them."""
    steps: list[str] = []
    with store.writing() as connection:
        made = connection.connection.dbapi_connection
        made.set_trace_callback(steps.append)
        if sql == "take":
            outbox.take(connection, [1, 2, 3], "me", NOW, NOW + MINUTE)
        else:
            outbox_backlog.make_dead(connection, [1, 2, 3], NOW, "no")
        made.set_trace_callback(None)
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {steps[-1]}")]
    assert any("USING INTEGER PRIMARY KEY" in step for step in plan)
    assert not any("outbox_by_due" in step for step in plan)


def test_what_could_not_be_encoded_is_never_sent_empty(store: Store) -> None:
    """Trying all dead letters again leaves it where it is."""
    with store.writing() as connection:
        new = NewItem(NOW, "event", CHANNEL, "paused", b"", error="cannot be encoded: x")
        assert manage.retry(connection, [queue.put(connection, new)], NOW) == 0
    assert [item.failed for item in listed(store)] == [1]


def test_no_number_and_no_id_is_given_out_again(store: Store) -> None:
    """Dropping an item by the number on the screen must not hit another; receivers remember ids, across stores too."""
    put(store, NOW)
    (first,) = take(store, NOW)
    with store.writing() as connection:
        outbox.finish(connection, [first.id], "me")
    put(store, NOW)
    (second,) = listed(store)
    assert second.id > first.id
    assert second.uid != first.uid
