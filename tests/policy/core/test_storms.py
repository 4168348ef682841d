"""Storms: bursts that say more about the receiving side than about its users."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from lab.world import World
from retour_policy.config.model import StormSection
from retour_policy.core.storm import Figures, Sides, breaks_out, is_calm
from retour_policy.maintenance.rebuild import differences
from retour_policy.store import schema

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


def close(world):
    """Let the calm hour pass."""
    while any(storm.closed is None for storm in world.storm_list()):
        world.wait("5m")
        world.tick()


def test_a_named_group_may_be_written_in_any_script():
    """The configuration has the domain as the postmaster reads it."""
    assert Sides({"books": ("Bücher.example",)}).of("a@bücher.example") == "books"


def test_taking_back_begins_where_the_window_does(outage):
    """Not at the first fact that the store ever had: with millions that would hold up all mail."""
    for number in range(30):
        outage.bounce(outage.send(f"u{number}@old.example"), f"u{number}@old.example", like="full")
    outage.wait("1d")
    outage.bounce(outage.send("early@gmail.example"), "early@gmail.example")
    burst(outage, 40, 0)
    with outage.store.reading() as connection:
        begins = connection.scalar(select(func.max(schema.fact.c.id)))
    asked = []
    event.listen(outage.store._writer, "before_cursor_execute", lambda *args: asked.append((args[2], args[3])))
    burst(outage, 40, 40)
    assert outage.suppressed() == {}
    (statement, values), *_ = [(text, given) for text, given in asked if "JOIN address ON address.id = fact" in text]
    assert values[0] == begins - 1
    (statement, values), *_ = [(text, given) for text, given in asked if "min(" in text]
    with outage.store.reading() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    assert "COVERING INDEX fact_by_time" in str(plan)


def test_taking_back_goes_on_after_a_stop_while_new_failures_arrive(outage):
    """One small step, a restart, failures in between: in the end nobody is paused, and the facts agree."""
    outage.wait("1d")
    sends = [(outage.send(to), to) for to in people(300)]
    for send, to in sends[:80]:
        outage.bounce(send, to)
    outage.step()
    assert 0 < len(outage.suppressed()) < 60
    outage.adopt({"stream": STREAMS, "sides": {"gmail": ["gmail.example", "googlemail.example"]}})  # a new process
    for send, to in sends[80:120]:
        outage.bounce(send, to)
        outage.step()
    outage.tick()
    assert outage.suppressed() == {}
    assert list(differences(outage.store)) == []


def test_a_storm_does_not_close_before_all_is_taken_back(outage):
    """Also where somebody looks after it only every few hours."""
    outage.wait("1d")
    sends = [(outage.send(to), to) for to in people(300)]
    for send, to in sends[:70]:
        outage.bounce(send, to)
    for _ in range(2):
        outage.wait("3h")
        outage.step()
        assert outage.storm_list()[0].closed is None
    for _ in range(3):
        outage.wait("3h")
        outage.tick()
    assert outage.storm_list()[0].closed is not None
    assert outage.suppressed() == {}


def test_what_two_storms_held_one_after_the_other_counts_once(outage):
    """It closes, opens again, and takes back once more what lies within the window; nothing counts twice."""
    outage.adopt({"stream": [{"name": "news", "policy": {"distinct_days": False, "pause": "0s", "hard": 9}}]})
    gone = people(1)[0]
    burst(outage, 40, 19)
    outage.bounce(outage.send("late@gmail.example"), "late@gmail.example")
    outage.tick()
    close(outage)
    burst(outage, 40, 40)
    close(outage)
    assert len(outage.storm_list()) == 2
    outage.wait("4d")
    outage.bounce(outage.send(gone), gone)
    assert outage.counts(gone)["*"]["hard"] == 3  # two that were held, and this one
    assert list(differences(outage.store)) == []


def test_applying_and_discarding_by_hand_after_the_lapse(outage):
    """What lapsed counts no more by itself, and the postmaster's word still goes."""
    burst(outage, 40, 40)
    close(outage)
    outage.wait("40d")
    (storm,) = outage.storm_list()
    outage.settle(storm.id, count=True)
    assert {len(outage.counts(to)) for to in people(40)} == {1}
    assert list(differences(outage.store)) == []
    outage.settle(storm.id, count=False)
    assert outage.counts(people(1)[0]) == {"*": {"hard": 1}}


def test_a_discarded_failure_never_counts(outage):
    """Not even for those who fail again after three days."""
    gone = burst(outage, 40, 40)[0]
    close(outage)
    outage.settle(outage.storm_list()[0].id, count=False)
    outage.wait("4d")
    outage.bounce(outage.send(gone), gone)
    assert outage.suppressed() == {gone: "*bulk pause"}
    assert list(differences(outage.store)) == []


@pytest.mark.parametrize("settled", [False, True])
def test_undo_takes_back_what_a_storm_holds_or_held(outage, settled):
    """Pauses that were taken back, failures held at once, and those that count again: all are undone."""
    outage.wait("1d")
    since = outage.now
    burst(outage, 60, 40)
    close(outage)
    if settled:
        outage.settle(outage.storm_list()[0].id, count=True)
    outage.undo(since, outage.now)
    outage.wait("4d")
    assert outage.suppressed() == {} and outage.counts(people(1)[0]) == {}
    outage.bounce(outage.send(people(1)[0]), people(1)[0])
    assert outage.suppressed() == {people(1)[0]: "*bulk pause"}
    assert list(differences(outage.store)) == []


def test_several_processes_may_look_after_the_same_storms(outage):
    """Each tick is a transaction of its own; a second one finds nothing left to do."""
    outage.wait("1d")
    burst(outage, 60, 25)
    other = outage.storms.of(outage.config)
    for _ in range(40):
        outage.wait("5m")
        for storms in (outage.storms, other):
            outage.write(lambda connection, storms=storms: storms.tick(connection, outage.ledger, outage.now))
    assert len(outage.storm_list()) == 1 and outage.storm_list()[0].closed
    assert outage.suppressed() == {}
    assert list(differences(outage.store)) == []


def test_counters_do_not_grow_for_ever(outage):
    """What no storm needs any more is deleted; what may still open one is not."""
    for number in range(505):
        outage.send(f"a@side{number}.example")
    outage.wait("1d")
    burst(outage, 19, 19)
    while outage.write(lambda connection: outage.storms.remove_old_counters(connection, outage.now)):
        pass
    with outage.store.reading() as connection:
        sides = set(connection.scalars(select(schema.storm_counter.c.side)))
    assert sides == {"gmail"}


def test_an_erased_person_is_not_left_paused_by_a_storm(outage):
    """Erased between the failure and the storm, or before either: their side is not known any more."""
    outage.wait("1d")
    before, after = people(2)
    outage.bounce(outage.send(before), before)
    assert outage.why_not(before).cause == "pause"
    outage.erase(before)
    sends = {to: outage.send(to) for to in people(60)[1:]}
    outage.erase(after)
    for to in people(60)[2:32]:
        outage.bounce(sends[to], to)
    outage.tick()
    assert outage.why_not(before) is None
    outage.bounce(sends[after], "somebody@elsewhere.example")  # the token names the recipient, the text does not
    assert outage.why_not(after) is None
    assert list(differences(outage.store)) == []


def test_one_storm_at_a_time_at_a_side(outage):
    """The store itself refuses a second one: two hosts that see the same burst at once open one."""
    burst(outage, 40, 40)
    (storm,) = outage.storm_list()
    opened = outage.write(
        lambda connection: outage.storms._open(connection, storm.stream, storm.side, Figures(9, 9), outage.now)
    )
    assert opened == storm.id and len(outage.storm_list()) == 1
