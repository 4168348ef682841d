"""What a storm, a trial, an operator and a clock that was ahead may take back or renew, and what they may not."""

import pytest

from lab.world import World
from retour_policy.clock import DAY
from retour_policy.maintenance.rebuild import differences
from retour_policy.store import recent_failures
from retour_policy.store.recent_failures import RecentFailure

BOB = "bob@example.net"
SMALL = {"least": 3, "all_of": 2}


@pytest.fixture
def small(tmp_path):
    """A world in which few failures are a storm."""
    with World(tmp_path, {"stream": [{"name": "news"}], "storm": SMALL}) as world:
        yield world


def storm(world, count=4):
    """Some people at Bob's side fail."""
    for number in range(count):
        to = f"other{number}@example.net"
        if send := world.send(to):
            world.bounce(send, to)


def agrees(world):
    return list(differences(world.store)) == []


def test_no_storm_takes_back_what_was_just_found_dead(small):
    """A weekly mailing whose bounces come five days late: suppressed at the third, and still after the tick."""
    to = [f"dead{number}@one.example" for number in range(6)]
    begin = small.now
    for week in range(3):
        small.now = begin + 7 * week * DAY
        sent = [(small.send(one), one) for one in to]
        small.wait("5d")
        for send, one in sent:
            if send:
                small.bounce(send, one)
        found = {one for one in to if small.suppressed().get(one, "").endswith("hard")}
        small.tick()
        assert found <= small.suppressed().keys()
    assert set(to) <= small.suppressed().keys() and agrees(small)


def until_trial(world):
    """Suppress Bob for bounces, and send the one message that tries."""
    for _ in range(2):
        world.bounce(world.send())
        world.wait("4d")
    world.wait("181d")
    return world.send()


def test_a_trial_that_came_back_for_somebody_else_renews_nothing(world):
    """Nobody is suppressed for one report that names another."""
    world.conflict(until_trial(world), "member@elsewhere.example")
    assert world.why_not().cause == "trial" and agrees(world)


def test_with_a_threshold_of_nought_a_failed_trial_renews_nothing(world):
    """Reports are recorded only."""
    trial = None
    for _ in range(2):
        world.bounce(world.send())
        world.wait("4d")
    world.adopt({"policy": {"hard": 0, "soft": 0}})
    world.wait("181d")
    trial = world.send()
    world.bounce(trial)
    assert world.why_not().cause == "trial" and agrees(world)


def test_a_held_trial_that_counts_after_all_renews_from_then(tmp_path):
    """A suppression begins at the moment that its failure counts, not a hundred days before."""
    config = {"stream": [{"name": "news"}], "storm": SMALL | {"repeats": 20, "repeats_over": "100d"}}
    with World(tmp_path, config) as world:
        trial = until_trial(world)
        storm(world)
        world.bounce(trial, like="full")
        world.wait("100d")
        world.settle(1, count=True)
        found = world.why_not()
        assert found.since == world.now and found.until >= world.now + 30 * DAY and agrees(world)


def test_what_an_operator_took_back_is_no_evidence(small):
    """Neither undone nor lifted failures make the next one count in a storm."""
    for take_back in (
        lambda: small.undo(small.now - DAY, small.now + 1),
        lambda: (small.suppress(BOB), small.lift(BOB)),
    ):
        storm(small)
        small.bounce(small.send())
        take_back()
        small.tick()
        for _ in range(2):
            small.wait("5d")
            send = small.send()
            storm(small)
            small.bounce(send)
            small.tick()
            assert "hard" not in small.suppressed().get(BOB, "")
        small.wait("40d")
        small.suppress(BOB)
        small.lift(BOB)
    assert agrees(small)


def test_what_was_undone_does_not_use_its_send_up(world):
    """A later, real failure of the same message counts."""
    send = world.send()
    world.bounce(send, like="full")
    world.undo(world.now - DAY, world.now + 1)
    world.wait("1d")
    world.bounce(send, like="full")
    assert world.counts(BOB) == {"*": {"soft": 1}} and agrees(world)


def test_a_slower_host_writes_facts_of_the_same_time(world):
    """Its clock is ten seconds behind, so its fact gets the time of the one before: what it says comes later still."""
    first = world.send()
    world.wait("31d")
    world.adopt({"policy": {"pause": "0s", "heal_sends": 1}})
    world.bounce(first, like="full")
    world.wait("20d")
    good_so_far = world.send()
    world.wait("9d")
    world.bounce(world.send(), like="full")
    world.now -= 10_000
    world.bounce(good_so_far, like="full")
    assert agrees(world)


def test_the_send_that_fails_now_heals_nothing_that_was_held(tmp_path):
    """It was made long ago, and looked good until this moment."""
    with World(tmp_path, {"stream": [{"name": "news"}], "storm": SMALL | {"soft_repeats_over": "30d"}}) as world:
        storm(world)
        for like in ("greylisted", "greylisted"):
            world.bounce(world.send(), like=like)
            world.wait("16d")
        late = world.send()
        world.wait("40d")
        world.bounce(late, like="timeout")
        assert agrees(world)


def test_a_storm_that_is_due_in_nine_years_is_looked_at_now(small):
    """A clock that was ahead has looked at it; afterwards it ends as any other."""
    storm(small)
    small.tick()
    was = small.now
    small.wait("3000d")
    storm(small, 9)
    small.tick()
    small.now = was
    assert small.write(lambda connection: small.storms.bring_back(connection, small.now)) == 1
    small.wait("40h")
    small.tick()
    small.wait("40h")
    small.tick()
    assert [one.closed is not None for one in small.storm_list()] == [True]


def test_failures_of_the_future_are_removed(small):
    """They stand before those that are too old, and no storm takes them back."""

    def put(connection):
        for first, at in ((1, small.now + 3000 * DAY), (1000, small.now)):
            some = [RecentFailure(first + number, "news", "x.example", 1, at) for number in range(500)]
            recent_failures.write(connection, some)

    small.write(put)
    small.wait("40d")
    while small.write(lambda connection: small.storms.remove_old_counters(connection, small.now)):
        pass
    small.write(lambda connection: small.storms.remove_old_counters(connection, small.now))
    with small.store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM recent_failure").scalar() == 0
