"""The outbox after a clock that was ahead: what it queued, put off or leased is not due in nine years."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.courier import items, running_courier
from lab.receiver import Receiver
from lab.world import World
from retour_policy.clock import DAY, HOUR, MINUTE
from retour_policy.outbox import manage, queue
from retour_policy.store import outbox
from retour_policy.store.outbox import FailedAttempt, Item, NewItem

AHEAD = 9 * 365 * DAY
LEASE = 5 * MINUTE


@pytest.fixture
def world(tmp_path: Path, receiver: Receiver) -> World:  # type: ignore[misc]
    hook = {"name": "app", "on": ["all"], "webhook": receiver.url(), "secret_file": "/unused", "allow_http": True}
    with World(tmp_path, {"hook": [hook | {"allow_private": ["127.0.0.1"]}]}) as world:
        yield world  # type: ignore[misc]


def put(world: World, kind: str = "event", due: int | None = None) -> int:
    new = NewItem(world.now, kind, "hook:app", "paused", b"{}", due=due)
    return world.write(lambda connection: queue.put(connection, new))


def bring_back(world: World) -> int:
    return world.write(lambda connection: manage.bring_back(connection, world.now, LEASE))


def the_item(world: World) -> Item:
    (item,) = items(world.store)
    return item


def test_an_event_of_the_future_is_told_today(world: World, receiver: Receiver, tmp_path: Path) -> None:
    """By a courier that starts when the clock is right again."""
    world.now += AHEAD
    put(world)
    world.now -= AHEAD
    with running_courier(tmp_path, world) as courier:
        courier.wait_empty()
    assert len(receiver.called) == 1


def test_a_resend_of_the_future_keeps_its_interval(world: World) -> None:
    """It was to go four hours after the bounce: so it goes four hours from now, and has three days from then."""
    world.now += AHEAD
    put(world, "resend", world.now + 4 * HOUR)
    world.now -= AHEAD
    assert (bring_back(world), bring_back(world)) == (1, 0)
    item = the_item(world)
    assert (item.at, item.due) == (world.now, world.now + 4 * HOUR)
    assert item.give_up == item.due + queue.GIVE_UP_AFTER_MS


def test_what_the_future_has_leased_or_put_off_is_due_now(world: World) -> None:
    """Queued in time, and taken by a courier, which has failed or died, while the clock was ahead."""
    for ending in ("died", "failed"):
        number = put(world)
        world.now += AHEAD
        taken = world.write(
            lambda connection, number=number: outbox.take(connection, [number], "me", world.now, world.now + LEASE)
        )
        assert len(taken) == 1
        if ending == "failed":
            failed = [FailedAttempt(number, 1, "no answer", world.now + HOUR, dead=False)]
            world.write(lambda connection, failed=failed: outbox.fail(connection, failed, "me"))
        world.now -= AHEAD
        assert (bring_back(world), bring_back(world)) == (1, 0)
        item = the_item(world)
        assert (item.due, item.taken_by, item.give_up) == (world.now, None, world.now + queue.GIVE_UP_AFTER_MS)
        world.write(lambda connection, number=number: manage.outbox_selection.drop(connection, [number]))


def test_what_is_due_later_for_good_reason_stays(world: World) -> None:
    """A resend in some days, a lease, a pause, a lease that goes on beyond the give-up."""
    put(world, "resend", world.now + 4 * DAY)
    number = put(world)
    world.wait("3d")
    world.write(lambda connection: outbox.take(connection, [number], "me", world.now, world.now + LEASE))
    before = items(world.store)
    assert bring_back(world) == 0 and items(world.store) == before


def test_dead_letters_of_the_future_grow_old(world: World) -> None:
    """Else they would be kept for nine years."""
    number = put(world)
    world.now += AHEAD
    world.write(lambda connection: outbox.take(connection, [number], "me", world.now, world.now + LEASE))
    failed = [FailedAttempt(number, 1, "gone", world.now, dead=True)]
    world.write(lambda connection: outbox.fail(connection, failed, "me"))
    world.now -= AHEAD
    assert bring_back(world) == 1
    assert (the_item(world).failed, the_item(world).due) == (1, world.now)
