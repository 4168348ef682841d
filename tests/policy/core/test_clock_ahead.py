"""A clock that was ahead for a while: what it wrote is bounded, and mended by what follows; live and rebuild agree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.world import World
from retour_policy.clock import DAY, HOUR, MINUTE, SECOND, ClockWatch
from retour_policy.maintenance.rebuild import differences

BOB = "bob@example.net"
AHEAD = 9 * 365 * DAY


@contextmanager
def ahead(world: World, by: int = AHEAD) -> Iterator[None]:
    """Somebody set the clock wrong, and sets it right again."""
    world.now += by
    yield
    world.now -= by


def fact_times(world: World) -> list[int]:
    with world.store.reading() as connection:
        return list(connection.exec_driver_sql("SELECT at FROM fact WHERE kind <> 'policy' ORDER BY id").scalars())


def agree(world: World) -> bool:
    return list(differences(world.store)) == []


@pytest.fixture
def poisoned(world: World) -> World:
    """One message and its bounce while the clock was nine years ahead."""
    with ahead(world):
        world.bounce(world.send())
        assert world.why_not() is not None
    return world


def test_what_begins_in_the_future_does_not_hold(poisoned: World) -> None:
    """Neither when it is asked nor in the lists, and mail goes out without a trial."""
    assert poisoned.why_not() is None and poisoned.suppressed() == {}
    assert poisoned.send() and poisoned.send()
    assert poisoned.why_not() is None and agree(poisoned)


def test_an_hour_is_no_future(world: World) -> None:
    """Clocks of two hosts may differ by that much."""
    with ahead(world, HOUR - 1):
        world.bounce(world.send())
    assert world.why_not() is not None and agree(world)


def test_later_facts_have_their_own_times_and_count(poisoned: World) -> None:
    """What happens next is dated when it happens, and the failure from the future counts as just before."""
    poisoned.bounce(poisoned.send())
    assert fact_times(poisoned)[-1] == poisoned.now and agree(poisoned)
    pause = poisoned.why_not()
    assert pause and pause.cause == "pause" and pause.since == poisoned.now
    poisoned.wait("4d")
    poisoned.bounce(poisoned.send())
    final = poisoned.why_not()
    assert final and final.cause == "hard" and final.since == poisoned.now == fact_times(poisoned)[-1]
    assert final.until == poisoned.now + 180 * DAY and agree(poisoned)


def test_it_heals_as_everybody_does(poisoned: World) -> None:
    """A failure of the future is no stain for nine years: good mail and time clear it."""
    poisoned.bounce(poisoned.send())
    for _ in range(12):
        poisoned.wait("20d")
        poisoned.send()
    poisoned.bounce(poisoned.send())
    pause = poisoned.why_not()
    assert pause and pause.cause == "pause" and agree(poisoned)


def test_remove_mends_it(poisoned: World) -> None:
    """`retour suppressions remove`: counts start again at zero, now and not in nine years."""
    poisoned.lift(BOB)
    assert poisoned.counts(BOB) == {} and agree(poisoned)
    poisoned.bounce(poisoned.send())
    assert poisoned.counts(BOB) == {"*": {"hard": 1}} and agree(poisoned)


def test_undo_mends_it(poisoned: World) -> None:
    """`retour undo`, for the time that the clock showed: as if it had not happened."""
    poisoned.undo(poisoned.now + DAY, poisoned.now + 2 * AHEAD)
    assert poisoned.counts(BOB) == {} and poisoned.suppressed() == {} and agree(poisoned)
    poisoned.bounce(poisoned.send())
    assert fact_times(poisoned)[-1] == poisoned.now
    assert poisoned.counts(BOB) == {"*": {"hard": 1}} and agree(poisoned)


def test_a_suppression_of_the_operator_takes_effect_at_once(poisoned: World) -> None:
    """It is dated now, though the address has a fact of the future."""
    poisoned.suppress(BOB, until=poisoned.now + 10 * DAY)  # the longest one is named
    found = poisoned.why_not()
    assert found and found.cause == "operator" and found.since == poisoned.now and agree(poisoned)


def test_facts_that_an_older_version_dated_into_the_future_are_bounded_too(world: World) -> None:
    """It gave all that followed the time of the first: the next one brings them all back."""
    with ahead(world):
        for _ in range(3):
            world.bounce(world.send(stream="invoices"), like="full")
    world.bounce(world.send(stream="invoices"), like="full")
    assert world.counts(BOB) == {"*": {"soft": 1}} and agree(world)  # all on this day


def test_a_clock_that_was_never_set_moves_nothing(world: World) -> None:
    """1970: what the address is known for stays where it was, and the new fact comes after it."""
    world.bounce(world.send())
    before, sent = world.why_not(), world.send(stream="invoices")
    now, world.now = world.now, 12 * HOUR
    world.bounce(sent, like="full")
    world.now = now
    assert world.why_not() == before and fact_times(world)[-1] == now and agree(world)


@pytest.mark.parametrize(("by", "told"), [(0, 0), (59 * SECOND, 0), (MINUTE, MINUTE), (-2 * DAY, -2 * DAY)])
def test_a_jump_of_the_clock_is_noticed_once(by: int, told: int) -> None:
    """Against a clock that nobody sets; the small steps of a time server are none."""
    wall, steady = [1_000_000], [5_000]
    watch = ClockWatch(lambda: wall[0], lambda: steady[0])
    wall[0] += 7 * SECOND + by
    steady[0] += 7 * SECOND
    assert [watch.jump(), watch.jump()] == [told, 0]


def mailing(world: World) -> None:
    """To one side, of which everybody fails."""
    for number in range(6):
        to = f"user{number}@gmail.example"
        world.bounce(world.send(to), to)


def test_a_storm_of_the_future_holds_nobody(world: World) -> None:
    """It ends when it is noticed, hooks are told, and its counters open no other storm."""
    with ahead(world):
        mailing(world)
        assert [storm.closed for storm in world.storm_list()] == [None]
    assert world.write(lambda connection: world.storms.bring_back(connection, world.now)) == 1
    assert not world.write(lambda connection: world.storms.bring_back(connection, world.now))
    (storm,) = world.storm_list()
    assert (storm.opened, storm.closed) == (world.now, world.now)
    world.wait("1h")
    to = "new@gmail.example"
    world.bounce(world.send(to), to)
    assert len(world.storm_list()) == 1 and world.why_not(to) is not None and agree(world)


def test_a_storm_that_the_future_closed_is_no_shield_against_the_next(world: World) -> None:
    """Failures behind its end are looked at for the next one, and its end is not in nine years."""
    mailing(world)
    with ahead(world):
        world.tick()
        world.wait("40h")  # without any mail it takes so long
        world.tick()
        world.now -= 40 * HOUR
    assert world.storm_list()[0].closed
    world.write(lambda connection: world.storms.bring_back(connection, world.now))
    world.wait("1d")
    mailing(world)
    first, second = world.storm_list()
    assert first.closed and first.closed < world.now and second.closed is None


def test_counters_of_the_future_are_removed(world: World) -> None:
    """With those that are too old."""
    with ahead(world):
        world.send()
    world.send()
    assert not world.write(lambda connection: world.storms.remove_old_counters(connection, world.now))
    with world.store.reading() as connection:
        buckets = connection.exec_driver_sql("SELECT bucket FROM storm_counter").scalars().all()
    assert len(buckets) == 2 and max(buckets) <= world.now  # of the side, and of all
