"""Storms: bursts that say more about the receiving side than about its users."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from lab.world import World
from retour_policy.config.model import StormSection
from retour_policy.core.storm import Figures, Sides, breaks_out, is_calm
from retour_policy.maintenance.rebuild import differences
from retour_policy.store import recent_failures, schema

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
    """Mail that goes well for an hour; until then failures are held."""
    burst(outage, 40, 40)
    for _ in range(40):
        outage.wait("5m")
        outage.send("fine@gmail.example")
        outage.tick()
    (storm,) = outage.storm_list()
    assert storm.closed is not None
    assert 60 <= (storm.closed - storm.opened) / 60_000 <= 190


def test_without_mail_it_lasts_until_the_day_after_tomorrow(outage):
    """Nobody knows whether it is over: the next day's mailing finds it open, and pauses nobody."""
    burst(outage, 40, 40)
    for _ in range(23):
        outage.wait("1h")
        outage.tick()
    assert outage.storm_list()[0].closed is None
    outage.wait("1h")
    sends = [(outage.send(to), to) for to in people(40)]
    for send, to in sends:
        outage.bounce(send, to)
    assert outage.suppressed() == {} and len(outage.storm_list()) == 1
    for _ in range(40):
        outage.wait("1h")
        outage.tick()
    assert outage.storm_list()[0].closed is not None


def test_mail_that_fails_after_a_silence_does_not_close_it(outage):
    """Looked at an hour after the mailing, when nothing is being sent any more."""
    burst(outage, 40, 40)
    outage.wait("12h")
    outage.tick()
    outage.wait("2h")
    burst(outage, 40, 40)
    outage.wait("90m")
    outage.tick()
    outage.tick()
    assert outage.storm_list()[0].closed is None


def test_a_storm_that_is_over_does_not_open_the_next_one(outage):
    """Its failures lie within the last six hours still; one more from somebody really gone is no storm."""
    burst(outage, 40, 40)
    while outage.storm_list()[0].closed is None:
        outage.wait("5m")
        outage.send("fine@gmail.example")
        outage.tick()
    outage.wait("10m")
    outage.bounce(outage.send("gone@gmail.example"), "gone@gmail.example")
    outage.tick()
    assert len(outage.storm_list()) == 1
    assert outage.suppressed() == {"gone@gmail.example": "*bulk pause"}


def test_what_was_held_counts_for_those_who_fail_again_and_again(outage):
    """The really dead, on three days over ten: all of it counts. Everybody else is left alone."""
    gone = burst(outage, 40, 40)[0]
    close(outage)
    for days, becomes in (("6d", "*bulk pause"), ("4d", "* hard")):
        outage.wait(days)
        for to in people(40):
            send = outage.send(to)
            if send and to == gone:
                outage.bounce(send, to)
        assert outage.suppressed() == {gone: becomes}
    assert list(differences(outage.store)) == []


def test_a_good_send_between_is_the_end_of_what_was_held(outage):
    """Three failures over ten days, but mail arrived in the middle: the last one is a first one."""
    gone = burst(outage, 40, 40)[0]
    close(outage)
    outage.send(gone)
    outage.wait("8d")
    outage.bounce(outage.send(gone), gone)
    outage.wait("4d")
    outage.bounce(outage.send(gone), gone)
    assert outage.suppressed() == {gone: "* hard"}  # two that no storm held
    assert outage.counts(gone) == {"*": {"hard": 2}}
    assert list(differences(outage.store)) == []


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
        world.wait("1h")
        world.tick()


def test_a_named_group_may_be_written_in_any_script():
    """The configuration has the domain as the postmaster reads it."""
    assert Sides({"books": ("Bücher.example",)}).of("a@bücher.example") == "books"


def test_taking_back_begins_where_the_window_does(outage):
    """What failed more than six hours before the storm is not of it."""
    outage.wait("1d")
    outage.bounce(outage.send("early@gmail.example"), "early@gmail.example")
    outage.wait("7h")
    burst(outage, 40, 40)
    assert outage.suppressed() == {"early@gmail.example": "*bulk pause"}


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
    close(outage)
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
    outage.wait("12d")
    outage.bounce(outage.send(gone), gone)
    assert outage.counts(gone)["*"]["hard"] == 3  # two that were held, and this one
    assert list(differences(outage.store)) == []


def test_applying_and_discarding_by_hand_long_after(outage):
    """The postmaster's word goes, however old the storm is."""
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
    for _ in range(50):
        outage.wait("1h")
        for storms in (outage.storms, other):
            outage.write(lambda connection, storms=storms: storms.tick(connection, outage.ledger, outage.now))
    assert len(outage.storm_list()) == 1 and outage.storm_list()[0].closed
    assert outage.suppressed() == {}
    assert list(differences(outage.store)) == []


def test_counters_do_not_grow_for_ever(outage):
    """What no storm needs any more is deleted; what may still open one is not."""
    for number in range(505):
        to = f"a@side{number}.example"
        send = outage.send(to)
        if number % 50 == 0:
            outage.bounce(send, to, like="full")
    outage.wait("1d")
    burst(outage, 30, 19)
    while outage.write(lambda connection: outage.storms.remove_old_counters(connection, outage.now)):
        pass
    with outage.store.reading() as connection:
        sides = set(connection.scalars(select(schema.storm_counter.c.side)))
        recent = connection.scalar(select(func.count()).select_from(schema.recent_failure))
    assert (sides, recent) == ({"gmail", "*"}, 19)


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


def statements(world, work):
    """How many statements some work takes in the writer."""
    asked = []

    def listen(*args):
        asked.append(args[2])

    event.listen(world.store._writer, "before_cursor_execute", listen)
    work()
    event.remove(world.store._writer, "before_cursor_execute", listen)
    return asked


def plans(world, asked):
    """How SQLite finds the rows of the tables of storms and failures for these statements."""
    tables = ("storm", "storm_counter", "recent_failure", "fact", "address_state")
    with world.store.reading() as connection:
        told = []
        for statement in {one for one in asked if one.startswith(("SELECT", "UPDATE", "DELETE"))}:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", (0,) * statement.count("?"))
            told += [row[3] for row in rows]
    return [one for one in told if one.startswith("SCAN") and one.split()[1] in tables and "INDEX" not in one]


def test_a_report_and_a_tick_cost_the_same_whatever_the_number_of_storms(outage):
    """By statements, and by none of them reading a table from end to end; nothing is done about what is not due."""
    outage.wait("1d")
    costs = []
    for number in (0, 300):
        for n in range(number):
            with outage.store.writing() as connection:
                outage.storms._open(connection, "news", f"side{n}.example", Figures(9, 9), outage.now)
        outage.tick()
        idle = statements(outage, outage.step)
        to = f"new{number}@calm.example"
        send = outage.send(to)
        outage.wait("1m")
        report = statements(outage, lambda send=send, to=to: outage.bounce(send, to))
        outage.wait("10m")
        looked = statements(outage, outage.step) if number else []
        assert plans(outage, [*idle, *report, *looked]) == []
        costs.append((len(idle), len(report)))
    assert costs[0] == costs[1]
    assert 0 < len(looked) < 10


@pytest.mark.sqlite
def test_a_storm_takes_back_the_failures_of_its_side_alone(outage):
    """However many there are at other sides: they are not read."""
    outage.wait("1d")
    for n in range(100):
        outage.send(f"fine@other{n}.example")
    for number in range(60):
        to = f"u{number}@other{number % 20}.example"
        outage.bounce(outage.send(to), to)
    sends = [(outage.send(to), to) for to in people(60)]
    for send, to in sends[:20]:
        outage.bounce(send, to)
    with outage.store.writing() as connection:
        taken = recent_failures.take(connection, "news", "gmail", outage.now - 1, outage.now + 1, 100)
    assert len(taken) == 19
    with outage.store.reading() as connection:
        plan = str(
            connection.exec_driver_sql(
                "EXPLAIN QUERY PLAN SELECT fact_id FROM recent_failure WHERE stream = 'a' AND side IN ('b', '')"
            ).all()
        )
    assert "recent_failure_by_side (stream=? AND side=?)" in plan
