"""The situations of `make policy-lab`, played for a short time."""

import pytest

import policy_lab
from policy_lab import DAY, Column, FirstBounce, Group, Reader, Result, alive, outages, play

READERS = 12


def group(fate, lasts, dead=0):
    readers = [Reader(f"r{number}@side.example", DAY, number * 1000) for number in range(READERS)]
    for reader in readers[:dead]:
        reader.dead_from = 0
    return Group("some readers", readers, fate, lasts)


def test_what_is_dead_is_found_and_who_lives_is_left_alone():
    """Three of twelve are dead: the careful policy finds them in two sends each, and stops nobody else."""
    column, one = Column("careful", {"preset": "careful"}), group(alive, 20 * DAY, dead=3)
    column.play(one)
    assert column.results["some readers"] == Result(dead=3, found=3, wasted=2.0, living=9, stopped=0, days=0.0)


@pytest.mark.parametrize(
    ("keys", "stopped"), [({"preset": "careful"}, 0), ({"preset": "plain"}, READERS), (None, READERS)]
)
def test_an_outage_tells_policies_apart(keys, stopped):
    """Four days of 5.1.1 for everybody: held by a storm, counted plainly, or final at the first bounce."""
    column, one = Column("a policy", keys), group(outages("gone", (5 * DAY, 9 * DAY)), 20 * DAY)
    column.play(one)
    assert column.results["some readers"].stopped == stopped


def test_the_model_suppresses_at_the_first_hard_and_the_third_soft_bounce():
    """For good, whoever is to blame."""
    for kind, sent in (("gone", 1), ("blocked", 1), ("full", 3)):
        one = group(lambda reader, now, chance, kind=kind: kind, 10 * DAY)
        play(one, FirstBounce())
        assert {reader.got for reader in one.readers} == {sent}


def test_every_situation_has_readers_and_a_name_of_its_own():
    """No two situations share a column of the table, or an address."""
    found = policy_lab.groups(1)
    assert len({one.name for one in found}) == len(found) > 50
    addresses = [reader.address for one in found for reader in one.readers]
    assert len(set(addresses)) == len(addresses)
