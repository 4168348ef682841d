"""The same history in other words comes to the same, storms included: what must make no difference, makes none."""

import dataclasses
import itertools
import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.reports import failed
from lab.world import LIKE, SECRET, World
from retour_bounces import Report
from retour_policy.address import address_key
from retour_policy.clock import DAY, HOUR, MINUTE
from retour_policy.ledger.policy_versions import Policy
from retour_policy.maintenance.rebuild import differences, recompute
from retour_policy.maintenance.simulate import rejudge
from retour_policy.maintenance.suppression_files import Row
from retour_policy.maintenance.suppression_import import SuppressionImport
from retour_policy.messages.returned import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store.addresses import Address, find_number
from retour_policy.store.suppressions import iterate_in_force, read

CONFIG = {
    "stream": [{"name": "news"}, {"name": "invoices", "transactional": True}],
    "storm": {"least": 3, "all_of": 3, "repeats_over": "8d", "soft_repeats_over": "20d"},
}
PEOPLE = range(4)
KINDS = st.sampled_from([None, None, None, "gone", "gone", "full", "timeout", "blocked"])
FATES = st.one_of(st.tuples(*(KINDS for _ in PEOPLE)), KINDS.map(lambda kind: (kind,) * len(PEOPLE)))
MAILINGS = st.lists(
    st.tuples(st.sampled_from(["news", "news", "invoices"]), FATES, st.sampled_from([1, 3, 4, 8, 8, 31])),
    min_size=2,
    max_size=8,
)


class Side:
    """Four people at a side of their own, in a world where other histories went before."""

    def __init__(self, world, number):
        self.world = world
        self.people = [f"p{person}@side{number}.example" for person in PEOPLE]
        self.marks = itertools.count(number * 1_000)

    def mail(self, stream, fates):
        """A mailing; the reports that come back of it."""
        sent = [(self.world.send(to, stream), to, fate) for to, fate in zip(self.people, fates, strict=True)]
        self.world.now += MINUTE
        return [self.report(send, to, fate) for send, to, fate in sent if send and fate]

    def report(self, send, to, like):
        type_, status, reason, blame = LIKE[like]
        part = failed(to, type_, status=status, reason=reason, blame=blame, diagnostic="")
        mark = next(self.marks).to_bytes(16, "big")
        return ReturnedMessage(
            self.world.now, Route("verp", None, send), "b@b", "", b"", mark, Report("bounce", (part,))
        )

    def pass_days(self, days):
        for _ in range(4):
            self.world.now += 6 * HOUR
            self.world.tick()
        self.world.now += (days - 1) * DAY - MINUTE
        self.world.tick()

    def decided(self):
        """Who is stopped in which stream, and why and until when."""
        found = {}
        for to, stream in itertools.product(self.people, ("news", "invoices")):
            one = self.world.why_not(to, stream)
            found[to, stream] = one and (one.scope, one.cause, one.since, one.until)
        return found


def one_by_one(world, reports):
    """As they come."""
    for one in reports:
        world.write(lambda connection, one=one: world.recorder.record(connection, one))


def all_at_once(world, reports):
    """In one transaction, as a group commit has them."""
    world.write(lambda connection: [world.recorder.record(connection, one) for one in reports])


def each_twice(world, reports):
    """A mail server that heard no answer delivers again."""
    for one in (*reports, *reports):
        world.write(lambda connection, one=one: world.recorder.record(connection, one))


def with_a_rebuild(world, reports):
    """The state of each who failed is thrown away and computed again."""
    one_by_one(world, reports)
    for to in {one.report.reports[0].recipient for one in reports}:
        world.write(lambda connection, to=to: recompute(connection, [address_of(connection, to)]))


def address_of(connection, to):
    """As the store knows it."""
    key = address_key(SECRET, to)
    return Address(find_number(connection, key), key)


WAYS = {"one by one": one_by_one, "at once": all_at_once, "twice": each_twice, "rebuilt": with_a_rebuild}
OTHERS = ("elsewhere", "in order", "in any order")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """One for each way, and others; each history has people and a side of its own in it."""
    made = {name: World(tmp_path_factory.mktemp("w"), CONFIG).__enter__() for name in (*WAYS, *OTHERS)}
    yield made, itertools.count(1)
    for world in made.values():
        world.__exit__()


def begin(worlds):
    """The worlds, at one time, later than all that was before; and the number of the next history."""
    made, counter = worlds
    now = max(world.now for world in made.values()) + 2 * DAY
    for world in made.values():
        world.now = now
    return made, next(counter)


def decisions(world, number, mailings, way):
    """What was decided after each mailing, and after the days that followed."""
    side, found = Side(world, number), []
    for stream, fates, days in mailings:
        way(world, side.mail(stream, fates))
        found.append(side.decided())
        side.pass_days(days)
        found.append(side.decided())
    return side, found


def agree(worlds, mailings):
    made, number = begin(worlds)
    found = {name: decisions(made[name], number, mailings, way)[1] for name, way in WAYS.items()}
    for name in WAYS:
        assert found[name] == found["one by one"], name


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(mailings=MAILINGS)
def test_repeated_grouped_and_rebuilt_it_decides_the_same(worlds, mailings):
    """Delivered twice, in one transaction, or with a rebuild after each mailing: nobody is treated otherwise."""
    agree(worlds, mailings)


@pytest.mark.slow
@settings(max_examples=int(os.environ.get("RETOUR_HISTORIES", "1000")), deadline=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(mailings=MAILINGS)
def test_repeated_grouped_and_rebuilt_it_decides_the_same_in_a_thousand_histories(worlds, mailings):
    """The same, for as long as it takes."""
    agree(worlds, mailings)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(mailings=MAILINGS, first=st.integers(0, len(PEOPLE)))
def test_what_is_done_to_a_store_leaves_what_it_must(worlds, mailings, first):
    """Imported elsewhere, twice, an export suppresses the same; who is erased stays suppressed as they were; and what
    is undone has not happened.
    """
    made, number = begin(worlds)
    world, begun = made["one by one"], made["one by one"].now
    side, _ = decisions(world, number, mailings, one_by_one)
    keys = [address_key(SECRET, to) for to in side.people]
    before = in_force(world, keys)
    other = made["elsewhere"]
    other.now = world.now
    rows = [Row(1, to, one) for to, one in iterate_in_force(world.store, world.now) if to in side.people]
    for _ in range(2):
        list(SuppressionImport(other.store, SECRET, other.ledger, other.now).apply(rows))
    assert in_force(other, keys) == before
    for to in side.people[first:]:
        world.erase(to)
    assert in_force(world, keys) == before
    world.undo(begun, world.now + 1)
    assert in_force(world, keys) == {} and all(not world.counts(to) for to in side.people)


def in_force(world, keys):
    """The suppressions of these addresses, without what names the facts that led to them."""
    with world.store.reading() as connection:
        return {
            (key, one.scope): (one.cause, one.since, one.until)
            for key, some in read(connection, keys).items()
            for one in some
            if one.in_force(world.now)
        }


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(mailings=MAILINGS, seed=st.integers(0, 1_000))
def test_old_mail_may_be_imported_in_any_order(worlds, mailings, seed):
    """By chance instead of by date: each address comes to the same account."""
    made, number = begin(worlds)
    found = []
    for name in ("in order", "in any order"):
        world = made[name]
        side, reports = Side(world, number), []
        for stream, fates, days in mailings:
            reports += side.mail(stream, fates)
            world.now += days * DAY
        if name == "in any order":
            random.Random(seed).shuffle(reports)
        for one in reports:
            one_by_one(world, [dataclasses.replace(one, imported=world.now)])
        found.append((side.decided(), [world.counts(to) for to in side.people]))
    assert found[0] == found[1]


def test_rebuilding_and_simulating_under_the_same_policy_change_nothing(worlds):
    """After all these histories, of all who were in them."""
    agree(worlds, [("news", ("gone", "full", None, "timeout"), 4), ("news", ("gone",) * len(PEOPLE), 8)])
    for world in worlds[0].values():
        assert list(differences(world.store)) == []
        for chunk in rejudge(world.store, Policy.of(world.config)):
            assert all(one.before == one.after for one in chunk)
