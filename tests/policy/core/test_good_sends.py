"""Good sends: what arrived means the same wherever it is asked for, and clears the same."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.world import World
from retour_policy.clock import DAY
from retour_policy.core.good_sends import SendTimes
from retour_policy.core.presets import CAREFUL
from retour_policy.maintenance.rebuild import differences
from retour_policy.store import sends

BOB = "bob@example.net"


@given(
    st.lists(st.tuples(st.integers(0, 40), st.none() | st.integers(0, 50)), max_size=12, unique_by=lambda one: one[0]),
    st.integers(0, 60),
)
def test_a_send_is_good_a_week_later_if_nothing_of_it_failed(days, today):
    """The latest first, at most three: what is younger may still fail, and what failed by then did not arrive."""
    made = sorted((day, day * DAY) for day, _ in days)
    failed = {day: (after * DAY, 1) for day, after in days if after is not None}
    good = [day for day, after in sorted(days, reverse=True) if day <= today - 7 and (after is None or after > today)]
    assert SendTimes(made, failed).good(today * DAY, replace(CAREFUL, heal_sends=3)) == tuple(
        day * DAY for day in good[:3]
    )


def test_a_daily_reader_behind_a_shaky_network_is_not_unreachable(world):
    """A mail in four times out; the three between arrive: the network works."""
    for day in range(120):
        send = world.send()
        if day % 4 == 0:
            world.bounce(send, like="timeout")
        world.wait("1d")
    assert world.suppressed() == {}
    assert world.counts(BOB)["*"]["network"] <= 3
    assert list(differences(world.store)) == []


def test_rebuilding_does_not_move_a_suppression(world):
    """The failures of a suppression are cleared one by one; how often it doubles comes out the same from the facts."""
    for _ in range(10):
        world.bounce(world.send(), like="timeout")
        world.wait("7d")
    world.wait("30d")
    for _ in range(3):
        world.send()
        world.wait("8d")
    for _ in range(12):
        send = world.send()
        if send:
            world.bounce(send, like="timeout")
        world.wait("5d")
        assert list(differences(world.store)) == []
    assert world.why_not().cause == "network"


def test_good_sends_clear_also_how_often_it_doubles_when_the_failures_are_gone_already(world):
    """One good send clears the failures of the network; two more begin the doubling anew."""
    world.adopt({"stream": [{"name": "news"}], "policy": {"network": 1, "network_span": "0s"}})
    world.bounce(world.send(), like="timeout")
    world.wait("31d")
    world.send()
    world.wait("8d")
    world.bounce(world.send(), like="blocked")  # counts for nobody, and changes nothing
    for _ in range(2):
        world.send()
        world.wait("8d")
    world.bounce(world.send(), like="timeout")
    assert (world.why_not().until - world.why_not().since) // DAY == 30
    assert list(differences(world.store)) == []


def test_a_report_that_is_not_counted_changes_nothing(world):
    """The second one of a day: state and suppressions are what they were, also where good sends could clear some."""
    world.bounce(world.send(), like="timeout")
    world.wait("2d")
    world.send()
    world.wait("9d")
    send = world.send()
    world.bounce(send, like="full")
    before = world.counts(BOB)
    for like in ("full", "timeout"):
        world.bounce(send, like=like)
    world.wait("1h")
    world.bounce(world.send(), like="full")
    assert world.counts(BOB) == before
    assert list(differences(world.store)) == []


@pytest.mark.parametrize(("good", "harmed"), [(0, True), (2, True), (3, False), (40, False)])
def test_what_the_postmaster_lets_count_heals_as_if_it_had_counted(tmp_path, good, harmed):
    """`storm apply` to somebody who got 40 mails since takes nothing from them; what it takes begins now."""
    with World(tmp_path, {"stream": [{"name": "news", "policy": {"hard": 1, "heal_sends": 3}}]}) as world:
        made = [(world.send(f"u{n}@side.example"), f"u{n}@side.example") for n in range(6)]
        for send, to in made:
            world.bounce(send, to)
        world.tick()
        world.wait("4d")
        for _ in range(good):
            world.send("u1@side.example")
            world.wait("1d")
        world.wait("10d")
        world.settle(world.storm_list()[0].id, count=True)
        found = world.why_not("u1@side.example")
        assert bool(found) is harmed
        assert not harmed or found.since == world.now
        assert list(differences(world.store)) == []


def test_a_send_that_may_have_reached_nobody_is_never_good(world, monkeypatch):
    """`_MAY_ARRIVE` heeds the mark on such sends; counting and rebuilding both go by it."""
    world.bounce(world.send())
    world.wait("4d")
    for _ in range(3):
        world.send()
    world.wait("9d")
    nobody = sends.schema.send_recipient.c.send_id < 0
    for name in ("_TO_ADDRESSES", "_LATEST_UNFAILED"):
        monkeypatch.setattr(sends, name, getattr(sends, name).where(nobody))
    world.bounce(world.send())
    assert world.why_not().cause == "hard"
    assert list(differences(world.store)) == []
