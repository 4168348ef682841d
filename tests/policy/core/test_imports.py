"""Imports: old bounces at their own dates, and what good sends since, purges and other reports make of them."""

import itertools

import pytest

from retour_policy.clock import DAY, HOUR
from retour_policy.maintenance.purge import purge
from retour_policy.maintenance.rebuild import differences

BOB = "bob@example.net"


def weekly(world, number):
    """So many weekly sends to Bob."""
    sends = []
    for _ in range(number):
        sends.append(world.send())
        world.wait("7d")
    return sends


def agrees(world):
    """Folding the facts gives what counting gave."""
    return list(differences(world.store)) == []


@pytest.mark.parametrize(("since", "suppressed"), [(3, {}), (2, {BOB: "* hard"})])
def test_what_good_sends_came_after_does_not_count(world, since, suppressed):
    """Two bounces of last year that are imported when three good sends were made since suppress nobody; after two
    they do, as they would have at the time.
    """
    sends = weekly(world, 2)
    at = world.now
    weekly(world, since)
    for number, send in enumerate(sends):
        world.bounce(send, at=at - (14 - 7 * number) * DAY + HOUR)
    assert world.suppressed() == suppressed
    assert agrees(world)
    assert (world.send() is None) == bool(suppressed)
    assert agrees(world)


def test_one_good_send_clears_an_imported_failure_of_the_network(world):
    """As it does where the failure was recorded at its time."""
    sends = weekly(world, 12)
    for send, at in zip(sends[:-2], itertools.count(world.now - 83 * DAY, 7 * DAY), strict=False):
        world.bounce(send, at=at, like="timeout")
    assert world.suppressed() == {} and world.counts(BOB) == {}
    assert agrees(world)


def test_a_report_of_its_time_is_not_shielded_by_a_cleared_one(world):
    """The same send's failure was recorded at once, and imported once more: what was counted stays so."""
    send = world.send()
    world.bounce(send)
    at = world.now - 60_000
    world.wait("4d")
    weekly(world, 4)
    before = world.counts(BOB)
    world.bounce(send, at=at)
    assert world.counts(BOB) == before == {"*": {"hard": 1}}
    assert agrees(world)


def test_what_is_older_than_what_a_purge_carried_counts(world):
    """A fact that was carried forward states the whole account; what is imported after it is added."""
    send = world.send()
    world.bounce(send)
    sent = world.now
    world.wait("200d")
    for _ in purge(world.store, world.now - 90 * DAY):
        pass
    assert world.counts(BOB) == {"*": {"hard": 1}}
    world.bounce(draw(world, sent + 5 * DAY), at=sent + 5 * DAY + HOUR)
    assert world.counts(BOB) == {"*": {"hard": 2}}
    assert agrees(world)
    for _ in purge(world.store, world.now - 90 * DAY):
        pass
    assert world.counts(BOB) == {"*": {"hard": 2}} and agrees(world)


def draw(world, at):
    """A send of that time, as a restored database has it."""
    now, world.now = world.now, at
    try:
        return world.send()
    finally:
        world.now = now


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_an_import_does_not_matter(world, order):
    """Newest first, oldest first, or any other way."""
    sends = weekly(world, 3)
    first = world.now - 21 * DAY
    weekly(world, 2)
    for number in order:
        world.bounce(sends[number], at=first + number * 7 * DAY + 1000, like=("gone", "full", "gone")[number])
    assert world.counts(BOB) == {"*": {"hard": 2, "soft": 1}}
    assert world.suppressed() == {BOB: "* hard"} and agrees(world)
