"""Storms: bursts that say more about the receiving side than about its users."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.world import World
from retour_policy.config import StormSection
from retour_policy.rebuild import differences
from retour_policy.storm import Figures, Sides, breaks_out, is_calm

STREAMS = [{"name": "news"}, {"name": "promo"}]


@pytest.fixture
def outage(tmp_path):
    """gmail.example and its other name are one side."""
    config = {"stream": STREAMS, "sides": {"gmail": ["gmail.example", "googlemail.example"]}}
    with World(tmp_path, config) as world:
        yield world


def people(count, domain="gmail.example"):
    return [f"user{number}@{domain}" for number in range(count)]


def burst(world, count, failing, domain="gmail.example", stream="news"):
    """A mailing to one side, of which the first `failing` fail at once."""
    sends = [(world.send(to, stream), to) for to in people(count, domain)]
    world.wait("1m")
    for send, to in sends[:failing]:
        if send:
            world.bounce(send, to)
    world.tick()
    return [to for _, to in sends]


@pytest.mark.parametrize(
    ("sent", "failed", "storm"),
    [(100, 20, True), (100, 19, False), (101, 20, False), (5, 5, True), (4, 4, False), (6, 5, False), (5, 6, True)],
)
def test_when_it_is_a_storm(sent, failed, storm):
    """At least 20 and at least 20 %, or at least 5 and all."""
    assert breaks_out(Figures(sent, failed), StormSection()) is storm


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_what_is_calm_is_no_storm(sent, failed):
    """A storm never opens on figures that would close it."""
    figures = Figures(sent, min(sent, failed))
    assert not (breaks_out(figures, StormSection()) and is_calm(figures, StormSection()))


def test_a_side_is_a_domain_or_a_named_group():
    """In any case, and A-labels."""
    sides = Sides({"google": ("Gmail.com", "googlemail.com")})
    assert sides.of("a@GMAIL.com") == sides.of("b@googlemail.com") == "google"
    assert sides.of("a@example.net") == "example.net"
    assert sides.of("a@bücher.example") == "xn--bcher-kva.example"


def test_a_storm_takes_back_the_pauses_that_it_has_caused(outage):
    """Nineteen pauses, then the twentieth failure: a storm, and nobody is paused any more."""
    outage.wait("1d")
    burst(outage, 60, 19)
    assert len(outage.suppressed()) == 19
    burst(outage, 20, 20, "googlemail.example")
    (storm,) = outage.storm_list()
    assert (storm.stream, storm.side, storm.closed) == ("news", "gmail", None)
    assert outage.suppressed() == {}
    assert list(differences(outage.store)) == []


def test_other_streams_and_other_sides_go_on_as_ever(outage):
    """A storm is of one stream at one side."""
    burst(outage, 40, 40)
    burst(outage, 30, 3, "example.net")
    burst(outage, 50, 2, stream="promo")
    assert sorted(outage.suppressed()) == sorted(
        [f"user{n}@example.net" for n in range(3)] + [f"user{n}@gmail.example" for n in range(2)]
    )


def test_it_closes_after_an_hour_of_calm(outage):
    """Below half the figure for an hour; until then failures are held."""
    burst(outage, 40, 40)
    for _ in range(30):
        outage.wait("5m")
        outage.tick()
    (storm,) = outage.storm_list()
    assert storm.closed is not None
    assert 60 <= (storm.closed - storm.opened) / 60_000 <= 130


def test_a_storm_that_is_over_does_not_open_the_next_one(outage):
    """Its failures lie within the last six hours still; one more from somebody really gone is no storm."""
    burst(outage, 40, 40)
    while outage.storm_list()[0].closed is None:
        outage.wait("5m")
        outage.tick()
    outage.wait("10m")
    outage.bounce(outage.send("gone@gmail.example"), "gone@gmail.example")
    outage.tick()
    assert len(outage.storm_list()) == 1
    assert outage.suppressed() == {"gone@gmail.example": "*bulk pause"}


def test_what_was_held_counts_for_those_who_fail_again_three_days_later(outage):
    """The really dead: the held failure is the first, the new one the second. Everybody else is left alone."""
    gone = burst(outage, 40, 40)[0]
    for _ in range(40):
        outage.wait("5m")
        outage.tick()
    outage.wait("4d")
    for to in people(40):
        send = outage.send(to)
        if to == gone:
            outage.bounce(send, to)
    assert outage.suppressed() == {gone: "* hard"}
    assert list(differences(outage.store)) == []


@pytest.mark.parametrize(("days", "becomes"), [("2d", "*bulk pause"), ("31d", "*bulk pause")])
def test_too_soon_or_too_late_it_counts_as_a_first_failure(outage, days, becomes):
    """Within 72 hours the provider may still be shaky; after 30 days the held one has lapsed."""
    gone = burst(outage, 40, 40)[0]
    for _ in range(40):
        outage.wait("5m")
        outage.tick()
    outage.wait(days)
    outage.bounce(outage.send(gone), gone)
    assert outage.suppressed() == {gone: becomes}


def test_undo_takes_back_an_outage_noticed_late(world):
    """Few enough failures that no storm opened: the postmaster undoes the window."""
    world.until("2026-05-01T10:00")
    since = world.now
    for number in range(3):
        to = f"user{number}@slow.example"
        world.bounce(world.send(to), to)
        world.wait("1h")
    world.bounce(world.send("bob@example.net"), "bob@example.net")
    assert len(world.suppressed()) == 4
    world.undo(since, world.now)  # up to, not including, this moment
    assert world.suppressed() == {"bob@example.net": "*bulk pause"}
    assert list(differences(world.store)) == []


def test_plain_counting_knows_no_storms(plain):
    """As the documents have it."""
    for _ in range(3):
        burst(plain, 40, 40)
    assert len(plain.suppressed()) == 40
    assert plain.storm_list() == []
