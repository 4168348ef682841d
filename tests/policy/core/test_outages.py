"""Outages: weeks of mailings in which sides fail, recover or die; nobody living is harmed, and the dead are found."""

import pytest

from lab.mailings import Mailings, side, sides
from lab.world import World
from retour_policy.maintenance.rebuild import differences

STREAMS = [{"name": "news"}]


@pytest.fixture
def play(tmp_path):
    """Plays mailings in a world of its own."""
    worlds = []

    def begin(people, fate):
        world = World(tmp_path / f"w{len(worlds)}", {"stream": STREAMS}).__enter__()
        worlds.append(world)
        return Mailings(world, people, fate)

    yield begin
    for world in worlds:
        world.__exit__()


def down(days, like="gone"):
    """Everybody fails on these days."""
    return lambda to, day: like if day in days else None


def agrees(mailings):
    """Folding the facts gives what counting gave."""
    return list(differences(mailings.world.store)) == []


@pytest.mark.parametrize("dead", [5, 8, 50])
@pytest.mark.parametrize("every", [30, 91, 365])
def test_a_dead_domain_is_found_by_three_mailings(play, dead, every):
    """However rarely it is written to: what is held does not lapse, and repeats."""
    mailings = play(side("dead", dead), lambda to, day: "gone")
    mailings.run(2, every)
    assert mailings.stopped() == set()
    mailings.mail()
    assert all(one.endswith("hard") for one in mailings.world.suppressed().values())
    assert (len(mailings.stopped()), mailings.sent) == (dead, 3 * dead)
    assert agrees(mailings)


@pytest.mark.parametrize("people", [60, pytest.param(240, marks=pytest.mark.slow)])
def test_a_quarter_of_dead_in_a_storm_without_end_is_found(play, people):
    """By twelve daily mailings; the storm then ends, and the living get all their mail."""
    everybody = side("mixed", 4 * people)
    dead = set(everybody[::4])
    mailings = play(everybody, lambda to, day: "gone" if to in dead else None)
    mailings.run(12)
    assert mailings.stopped() == dead
    mailings.run(2)
    assert [storm.closed is None for storm in mailings.world.storm_list()] == [False]
    assert mailings.sent == 4 * people * 14 - people * 3
    assert agrees(mailings)


@pytest.mark.parametrize("people", [60, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("days", [{10, 14, 18}, set(range(10, 18)), {3, 10, 13, 20}])
def test_an_outage_that_comes_again_or_lasts_long_harms_nobody(play, people, days):
    """One day on days 10, 14 and 18, or eight days on end: each time a good send comes between, or it was too short."""
    mailings = play(side("big", people), down(days))
    mailings.run(26)
    assert mailings.stopped() == set()
    assert mailings.sent == 26 * people
    assert agrees(mailings)


def test_an_outage_of_eight_days_at_sides_of_twelve_harms_nobody(play):
    """Each is a storm of its own, five of twelve being all that were sent so far, or twelve of twelve."""
    mailings = play(sides(10, 12), down(set(range(4, 12))))
    mailings.run(14)
    assert mailings.stopped() == set() and mailings.sent == 14 * 120
    assert agrees(mailings)


@pytest.mark.parametrize("count", [8, 50])
def test_an_outage_of_four_days_at_sides_of_three_harms_nobody(play, count):
    """Too few for a storm at each; but when all sides fail at once it is us, and the stream's failures are held."""
    mailings = play(sides(count, 3), down(set(range(4, 8))))
    mailings.run(10)
    assert mailings.stopped() == set() and mailings.sent == 10 * 3 * count
    assert {storm.side for storm in mailings.world.storm_list()} == {"*"}
    assert agrees(mailings)


def test_many_sides_with_some_dead_are_no_breakdown_of_ours(play):
    """A quarter of an old list is dead, spread over all sides: found by two mailings, as ever."""
    people = sides(60, 2)
    dead = set(people[::4])
    mailings = play(people, lambda to, day: "gone" if to in dead else None)
    mailings.run(2, 7)
    assert mailings.stopped() == dead and mailings.world.storm_list() == []


@pytest.mark.parametrize("like", ["full", "timeout"])
def test_a_side_that_is_full_or_unreachable_for_eleven_days_loses_nobody(play, like):
    """Soft failures and those of the network are held as the hard ones are."""
    mailings = play(side("full", 30), down(set(range(2, 13)), like))
    mailings.run(22)
    assert mailings.stopped() == set() and mailings.sent == 22 * 30
    assert agrees(mailings)


def test_a_full_mailbox_at_a_side_in_a_storm_is_found_in_the_end(play):
    """All of them full, for good: by the time that no outage lasts."""
    mailings = play(side("full", 8), down(range(400), "full"))
    mailings.run(30)
    assert mailings.stopped() == set()
    mailings.run(3)
    assert set(mailings.world.suppressed().values()) == {"*bulk soft"} and len(mailings.stopped()) == 8
    assert agrees(mailings)


def test_a_failure_soon_after_an_outage_does_not_make_it_count(play):
    """Mail arrived between, though not a week ago yet: it may be good, so nothing is decided."""
    people = side("big", 30)
    mailings = play(people, lambda to, day: "gone" if day in range(8) or (day == 12 and to == people[0]) else None)
    mailings.run(13)
    assert mailings.world.suppressed() == {people[0]: "*bulk pause"}
    assert agrees(mailings)


def test_a_trial_that_fails_in_a_storm_counts_with_what_was_counted_before(play):
    """Dead for long; the one message that tries falls into a storm of its side: suppressed again at once."""
    people = side("big", 30)
    mailings = play(people, lambda to, day: "gone" if to == people[0] or day >= 190 else None)
    mailings.run(3, 4)
    assert mailings.stopped() == {people[0]}
    mailings.run(1, 180)
    mailings.run(1)
    assert mailings.world.suppressed() == {people[0]: "* hard"}
    assert agrees(mailings)
