"""Retour and an independent model of docs/policy.md, through the same random histories of one address each."""

import itertools
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.policy_model import Numbers, Person
from lab.world import World
from retour_policy.clock import DAY, HOUR
from retour_policy.core.presets import CAREFUL
from retour_policy.maintenance.rebuild import differences

STREAMS = {"news": False, "promo": False, "invoices": True}
LIKE = {"hard": "gone", "soft": "full", "network": "timeout", "sender": "blocked"}
WHAT = st.sampled_from(["hard", "hard", "hard", "soft", "soft", "network", "network", "sender"])
SPANS = st.sampled_from([HOUR, DAY, 3 * DAY, 4 * DAY, 8 * DAY, 8 * DAY, 33 * DAY])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(sorted(STREAMS)), st.just("")),
        st.tuples(st.just("fails"), st.sampled_from(["news", "news", "promo", "invoices"]), WHAT),
        st.tuples(st.just("fails"), st.sampled_from(["news", "news", "promo", "invoices"]), WHAT),
        st.tuples(st.just("late"), st.integers(0, 5), WHAT),
        st.tuples(
            st.just("wait"), st.sampled_from([HOUR, DAY, 3 * DAY, 4 * DAY, 8 * DAY, 8 * DAY, 33 * DAY]), st.just("")
        ),
        st.tuples(st.just("weeks"), st.integers(2, 8), WHAT),
    ),
    min_size=5,
    max_size=20,
)
OTHERS = {
    "careful": {},
    "as it was": {"hard_for": 180, "network": 10, "heal_sends": 3, "trials": 0, "spare_for": 10_000},
}


class Two:
    """A person of the model, and an address of their own in a world that other histories have used before."""

    def __init__(self, world, number, numbers):
        self.world, self.to = world, f"p{number}@side{number}.example"
        self.person = Person(numbers)
        self.made = []

    def send(self, stream):
        send = self.world.send(self.to, stream)
        mail = self.person.send(self.world.now, transactional=STREAMS[stream])
        assert (send is None) == (mail is None), f"{stream}: sent by {'the model' if send is None else 'Retour'} only"
        if send is not None:
            self.made.append((send, mail))
        return send is not None

    def fails(self, which, what):
        if which < len(self.made):
            send, mail = self.made[-1 - which]
            self.world.bounce(send, self.to, like=LIKE[what])
            self.person.fail(mail, what, self.world.now)

    def step(self, kind, which, what):
        if kind == "send":
            self.send(which)
        elif kind == "fails" and self.send(which):
            self.world.now += HOUR
            self.fails(0, what)
        elif kind == "late":
            self.fails(which, what)
        elif kind == "wait":
            self.world.now += which
        elif kind == "weeks":
            for _ in range(which):
                if self.send("news"):
                    self.fails(0, what)
                self.world.now += 7 * DAY

    def compare(self):
        for stream, transactional in STREAMS.items():
            ours = self.world.why_not(self.to, stream)
            theirs = self.person.stopped(self.world.now, transactional=transactional)
            assert (ours and (ours.cause, ours.since, ours.until)) == (
                theirs and (theirs.cause, theirs.since, theirs.until)
            ), stream


@pytest.fixture(scope="module", params=sorted(OTHERS))
def setting(request, tmp_path_factory):
    """A world without storms, and the numbers of its policy."""
    given_ = OTHERS[request.param]
    keys = {name: value if name in COUNTS else f"{value}d" for name, value in given_.items()}
    streams = [{"name": name, "transactional": transactional} for name, transactional in STREAMS.items()]
    config = {"stream": streams, "storm": {"least": 0}, "policy": keys}
    with World(tmp_path_factory.mktemp("w"), config) as world:
        yield world, Numbers(**given_), itertools.count(1)


COUNTS = ("hard", "soft", "network", "trials", "heal_sends")


def test_the_model_has_the_numbers_of_the_careful_policy():
    """They are written once more in it, as docs/policy.md has them."""
    for name, number in vars(Numbers()).items():
        assert number == getattr(CAREFUL, name) // (1 if name in COUNTS else DAY), name


def agree(setting, steps):
    """After each step both say the same of each stream."""
    world, numbers, counter = setting
    world.now += 2 * DAY
    two = Two(world, next(counter), numbers)
    for step in steps:
        two.step(*step)
        two.compare()


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_retour_decides_as_the_model_does(setting, steps):
    """Who is stopped in each stream, why, since and until when, through hundreds of histories."""
    agree(setting, steps)


@pytest.mark.slow
@settings(max_examples=int(os.environ.get("RETOUR_HISTORIES", "2500")), deadline=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(steps=STEPS)
def test_retour_decides_as_the_model_does_through_thousands_of_histories(setting, steps):
    """The same, for as long as it takes."""
    agree(setting, steps)


def test_rebuilding_finds_no_difference_after_all_that(setting):
    """Folding the facts of all these histories gives what counting gave."""
    world, numbers, counter = setting
    agree((world, numbers, counter), [("weeks", 8, "hard"), ("wait", 33 * DAY, ""), ("weeks", 6, "soft")])
    assert list(differences(world.store)) == []
