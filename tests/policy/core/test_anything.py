"""Whatever happens, in whatever order, on whatever hosts: the facts say what the store says."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.world import LIKE, SECRET, World
from retour_policy.address import address_key
from retour_policy.clock import DAY, SECOND
from retour_policy.erasure.erase import erase
from retour_policy.maintenance.purge import purge
from retour_policy.maintenance.rebuild import differences
from retour_policy.maintenance.undo import Window, failures
from retour_policy.store.addresses import Address, find_number

ROOT = Path(__file__).parents[3]
PEOPLE = [f"{name}@{side}.example" for name in ("ann", "bob", "eve", "joe") for side in ("one", "two")]
STREAMS = [
    {"name": "news"},
    {"name": "promo", "policy": {"hard": 1, "scope": "stream"}},
    {"name": "invoices", "transactional": True, "policy": {"distinct_days": False, "soft": 2, "soft_span": "0s"}},
]
POLICIES = (
    {},
    {"preset": "plain"},
    {"scope": "stream", "hard": 3},
    {"heal_sends": 1, "heal_after": "2d", "pause": "0s"},
)
STORM = {"least": 3, "all_of": 2, "window": "6h", "repeats": 2, "repeats_over": "3d", "soft_repeats_over": "8d"}
ACTIONS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(PEOPLE), st.sampled_from(["news", "promo", "invoices"])),
    st.tuples(st.just("share"), st.lists(st.sampled_from(PEOPLE), min_size=2, max_size=4), st.just("news")),
    st.tuples(st.just("burst"), st.sampled_from(["one", "two"]), st.sampled_from(["news", "promo"])),
    st.tuples(st.just("bounce"), st.integers(0, 9), st.sampled_from(sorted(LIKE))),
    st.tuples(st.just("bounce"), st.integers(0, 9), st.just("gone")),
    st.tuples(st.just("late"), st.integers(0, 9), st.sampled_from(["gone", "full"])),
    st.tuples(st.just("conflict"), st.integers(0, 9), st.sampled_from(["gone", "full", "timeout"])),
    st.tuples(st.just("conflict"), st.integers(0, 2), st.just("gone")),
    st.tuples(
        st.just("answer"),
        st.integers(0, 9),
        st.sampled_from(["autoreply", "complaint", "opt-out", "not-spam", "unsubscribe", "delayed"]),
    ),
    st.tuples(st.just("import"), st.integers(0, 9), st.sampled_from(["gone", "full", "timeout"])),
    st.tuples(st.just("wait"), st.sampled_from(["1h", "1d", "4d", "8d", "40d", "200d"]), st.none()),
    st.tuples(st.just("clock"), st.integers(-5, 5), st.none()),
    st.tuples(st.just("ahead"), st.integers(0, 9), st.sampled_from(["2h", "3d", "3000d"])),
    st.tuples(st.just("tick"), st.integers(1, 30), st.none()),
    st.tuples(st.just("settle"), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("suppress"), st.sampled_from(PEOPLE), st.sampled_from(["*", "*bulk", "news"])),
    st.tuples(st.just("lift"), st.sampled_from(PEOPLE), st.none()),
    st.tuples(st.just("undo"), st.integers(0, 20), st.none()),
    st.tuples(st.just("purge"), st.none(), st.none()),
    st.tuples(st.just("erase"), st.sampled_from(PEOPLE), st.none()),
    st.tuples(st.just("policy"), st.integers(0, len(POLICIES) - 1), st.none()),
)


class Life:
    """Does what a list says."""

    def __init__(self, world):
        self.world = world
        self.made = []

    def do(self, what, which, how):
        getattr(self, f"_{what}")(which, how)

    def _send(self, to, stream):
        self.made.append((self.world.send(to, stream), to))

    def _share(self, to, stream):
        self.made.append((self.world.send(sorted(set(to)), stream), to[0]))

    def _burst(self, side, stream):
        for to in PEOPLE:
            if to.endswith(f"@{side}.example"):
                self._send(to, stream)
                self._bounce(0, "gone")

    def _bounce(self, which, like):
        if which < len(self.made) and self.made[-1 - which][0]:
            self.world.bounce(*self.made[-1 - which], like=like)

    def _conflict(self, which, like):
        if which < len(self.made) and self.made[-1 - which][0]:
            send, to = self.made[-1 - which]
            names = "archive@three.example" if which > 6 else f"new-{to}"
            self.world.conflict(send, names, like=like, to=to)

    def _late(self, which, like):
        self.world.wait("100d")
        self._bounce(which, like)

    def _answer(self, which, kind):
        if which < len(self.made) and self.made[-1 - which][0]:
            send, to = self.made[-1 - which]
            self.world.answer(send, kind, to)

    def _import(self, which, like):
        if which < len(self.made) and self.made[-1 - which][0]:
            self.world.bounce(*self.made[-1 - which], like=like, at=self.world.now - which * 3 * DAY)

    def _wait(self, span, _):
        self.world.wait(span)

    def _clock(self, seconds, _):
        self.world.now += seconds * SECOND  # the other host

    def _ahead(self, which, by):
        now = self.world.now
        self.world.wait(by)
        self._send(PEOPLE[which % len(PEOPLE)], "news")
        self._bounce(which, "gone")
        self.world.now = now

    def _tick(self, steps, _):
        for _ in range(steps):
            self.world.wait("5m")
            self.world.tick()

    def _settle(self, storm, count):
        if storm in {one.id for one in self.world.storm_list()}:
            self.world.settle(storm, count=count)

    def _suppress(self, to, scope):
        self.world.suppress(to, scope, self.world.now + 30 * DAY)

    def _lift(self, to, _):
        self.world.lift(to)

    def _undo(self, days, _):
        since, until = self.world.now - days * DAY, self.world.now + 1
        self.world.undo(since, until)
        assert failures(self.world.store, Window(since, until, frozenset())) == []

    def _purge(self, _, __):
        for _ in purge(self.world.store, self.world.now - 90 * DAY):
            pass

    def _erase(self, to, _):
        key = address_key(SECRET, to)
        with self.world.store.writing() as connection:
            number = find_number(connection, key)
            if number:
                erase(connection, Address(number, key))

    def _policy(self, number, _):
        self.world.adopt({"stream": STREAMS, "policy": POLICIES[number], "storm": STORM})


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(actions=st.lists(ACTIONS, max_size=50))
def test_rebuilding_finds_no_difference_whatever_happened(tmp_path_factory, actions):
    """Storms, trials, shared sends, old mail read in, purges, erasures, other policies, clocks that differ."""
    with World(tmp_path_factory.mktemp("w"), {"stream": STREAMS, "storm": STORM}) as world:
        life = Life(world)
        for action in actions:
            life.do(*action)
        assert list(differences(world.store)) == []
        with world.store.reading() as connection:
            states = connection.exec_driver_sql("SELECT length(CAST(state AS text)) FROM address_state").scalars().all()
        assert max(states, default=0) < 6_000


@pytest.mark.parametrize("seed", range(3))
def test_a_long_life_with_thousands_of_facts(tmp_path, seed):
    """The same by plain chance: longer than what a property test draws."""
    chance = random.Random(seed)
    with World(tmp_path, {"stream": STREAMS, "storm": STORM}) as world:
        life = Life(world)
        for _ in range(250):
            life.do("send", chance.choice(PEOPLE), chance.choice(["news", "promo", "invoices"]))
            what = chance.choices(["bounce", "conflict", "burst", "tick", "wait", "import", "purge", "policy", "settle",
                                   "undo"], [20, 8, 2, 2, 12, 2, 1, 1, 1, 1])[0]  # fmt: skip
            which = {"burst": chance.choice(["one", "two"]), "wait": chance.choice(["1h", "1d", "4d", "8d"])}
            how = {"burst": "news", "settle": chance.random() < 0.5, "import": "gone"}
            life.do(what, which.get(what, chance.randrange(4)), how.get(what, chance.choice(sorted(LIKE))))
        assert list(differences(world.store)) == []


def test_two_hosts_whose_clocks_differ(world):
    """One is half a minute behind: what it records comes after what the other did, and nothing is lost."""
    for number in range(6):
        world.now += (30, -30)[number % 2] * SECOND
        world.bounce(world.send(stream="invoices"), like="full")
        world.now += DAY if number % 2 else 0
    assert world.counts("bob@example.net") == {"*": {"soft": 3}}  # three days
    assert list(differences(world.store)) == []


WRITER = """
import sys
sys.path.insert(0, "{root}/tools")
from pathlib import Path
from lab.world import World
with World(Path("{folder}"), {{"stream": [{{"name": "news"}}], "storm": {{"least": 5}}}}) as world:
    world.now += {number} * 3_600_000
    print("ready", flush=True)
    for turn in range(10_000):
        to = f"u{{turn % 7}}@one.example"
        send = world.send(to)
        world.bounce(send or 1, to, like=("gone", "full")[turn % 2])
        print("written", flush=True)
        world.tick()
        world.wait("3h")
"""


def test_killed_at_any_moment(tmp_path):
    """A writer that is killed again and again leaves a store in which rebuilding finds nothing."""
    chance = random.Random(4)
    for number in range(5):
        code = WRITER.format(root=ROOT, folder=tmp_path, number=number * 900)
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            for _ in range(chance.randint(6, 15)):  # however slow the machine is, something was written
                assert process.stdout.readline() == b"written\n"
            ends = time.monotonic() + chance.random() * 0.05
            while time.monotonic() < ends:
                assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
    with World(tmp_path, {"stream": [{"name": "news"}]}) as world:
        with world.store.reading() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM fact WHERE kind = 'bounce'").scalar() > 20
        assert list(differences(world.store)) == []
