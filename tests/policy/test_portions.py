"""Portions: a report that names very many recipients is recorded in short transactions, and once."""

import pytest

from lab.reports import failed
from lab.world import World
from retour_bounces import Report
from retour_policy.maintenance.rebuild import differences
from retour_policy.messages.returned import MAX_PARTS_AT_ONCE
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store.facts import FactFilter, read

PEOPLE = [f"u{number}@side{number % 40}.example" for number in range(3 * MAX_PARTS_AT_ONCE + 7)]


@pytest.fixture
def world(tmp_path):
    with World(tmp_path, {"stream": [{"name": "news"}], "storm": {"least": 0}}) as world:
        yield world


def report_about(world, send, mark, people=PEOPLE, **values):
    """A report that all of these failed."""
    parts = tuple(failed(one, original_recipient=one, diagnostic="") for one in people)
    return ReturnedMessage(
        world.now, Route("verp", "news", send), "b@b", "", b"", mark, Report("bounce", parts), **values
    )


def facts_written(world):
    with world.store.reading() as connection:
        return [fact.address for fact in read(connection, FactFilter(kind="bounce"))]


def done(world, message, stop=None):
    """Do the transactions, all or the first few; what came of each, and how many facts each wrote."""
    outcomes, written = [], []
    for work in world.recorder.transactions(message):
        before = len(facts_written(world))
        outcomes.append(world.write(work))
        written.append(len(facts_written(world)) - before)
        if len(outcomes) == stop:
            break
    return outcomes, written


def test_a_report_about_very_many_is_recorded_in_portions(world):
    """Each is a transaction of its own, of a bounded number of parts; in the end there is one fact for each recipient,
    and a second report counts as it would for a few.
    """
    for mark in (b"first", b"second"):
        send = world.send(PEOPLE)
        outcomes, written = done(world, report_about(world, send, mark))
        assert outcomes == ["recorded"] * 4
        assert written == [MAX_PARTS_AT_ONCE] * 3 + [7]
        world.wait("4d")
    assert sorted(facts_written(world)) == sorted(PEOPLE * 2)
    assert len(world.suppressed()) == len(PEOPLE) and list(differences(world.store)) == []


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_what_was_cut_off_is_done_when_the_report_comes_again(world, stop):
    """Nothing twice, nothing left out; and a third time nothing at all."""
    message = report_about(world, world.send(PEOPLE), b"mark")
    done(world, message, stop)
    assert done(world, message) == (
        ["duplicate"] * stop + ["recorded"] * (4 - stop),
        [0] * stop + [MAX_PARTS_AT_ONCE] * (3 - stop) + [7],
    )
    assert done(world, message)[0] == ["duplicate"] * 4
    assert sorted(facts_written(world)) == sorted(PEOPLE)


def test_a_report_about_few_is_one_transaction(world):
    """As nearly every report is."""
    some = PEOPLE[:MAX_PARTS_AT_ONCE]
    assert done(world, report_about(world, world.send(some), b"mark", some)) == (["recorded"], [MAX_PARTS_AT_ONCE])


def test_unmatched_names_stay_bounded(world):
    """Thousands of names that nobody knows become a few facts, and old mail of that kind none."""
    strangers = [f"x{number}@other.example" for number in range(1_000)]
    outcomes, written = done(world, report_about(world, world.send(PEOPLE[:3]), b"mark", strangers))
    assert (outcomes, written) == (["forwarded"], [50])
    old = report_about(world, world.send(PEOPLE[:3]), b"old", strangers, imported=world.now)
    assert done(world, old) == (["unmatched"], [0])
