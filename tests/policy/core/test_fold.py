"""Facts and decisions: whatever happened, folding the facts again gives the state that the store has."""

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, update

from lab.wait import PATIENCE
from lab.world import LIKE, SECRET, World
from retour_policy.address import address_key
from retour_policy.clock import DAY
from retour_policy.core.decide import MAX_FAILURES_KEPT, Count, CountedFailure, State
from retour_policy.core.state_json import from_dict, to_dict
from retour_policy.erasure.erase import erase
from retour_policy.ledger.policy_versions import Policy
from retour_policy.maintenance.purge import purge
from retour_policy.maintenance.rebuild import correct, differences
from retour_policy.maintenance.simulate import rejudge
from retour_policy.store import schema
from retour_policy.store.addresses import Address, find_number, iterate_with_account

BEGINS = 1_767_268_800_000  # 2026-01-01 at noon, where the world begins
STREAMS = [{"name": "news"}, {"name": "promo", "policy": {"hard": 1}}, {"name": "invoices", "transactional": True}]
PEOPLE = ("ann@example.net", "bob@example.net")
POLICIES = ({}, {"preset": "plain"}, {"scope": "stream"}, {"count_unsigned": True, "heal_sends": 1})
ACTIONS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(PEOPLE), st.sampled_from(["news", "promo", "invoices"])),
    st.tuples(st.just("send-both"), st.none(), st.sampled_from(["news", "promo"])),
    st.tuples(st.just("bounce"), st.integers(0, 5), st.sampled_from(sorted(LIKE))),
    st.tuples(st.just("bounce"), st.integers(0, 5), st.just("gone")),
    st.tuples(st.just("conflict"), st.integers(0, 3), st.sampled_from(["gone", "full"])),
    st.tuples(
        st.just("answer"),
        st.integers(0, 5),
        st.sampled_from(["autoreply", "complaint", "opt-out", "not-spam", "unsubscribe"]),
    ),
    st.tuples(st.just("wait"), st.sampled_from(["1h", "1d", "4d", "8d", "40d", "200d"]), st.none()),
    st.tuples(st.just("suppress"), st.sampled_from(PEOPLE), st.sampled_from(["*", "news"])),
    st.tuples(st.just("lift"), st.sampled_from(PEOPLE), st.none()),
    st.tuples(st.just("undo"), st.integers(0, 20), st.none()),
    st.tuples(st.just("policy"), st.integers(0, len(POLICIES) - 1), st.none()),
)


def perform(world, actions):
    """Do what the list says."""
    made = []
    for what, which, how in actions:
        if what == "send":
            made.append((world.send(which, how), which))
        elif what == "send-both":
            made.append((world.send(PEOPLE, how), PEOPLE[len(made) % 2]))
        elif what in ("bounce", "conflict", "answer") and which < len(made) and made[-1 - which][0]:
            send, to = made[-1 - which]
            if what == "conflict":
                world.conflict(send, f"new-{to}", like=how, to=to)
            else:
                world.bounce(send, to, like=how) if what == "bounce" else world.answer(send, how, to)
        elif what == "wait":
            world.wait(which)
        elif what == "suppress":
            world.suppress(which, how)
        elif what == "lift":
            world.lift(which)
        elif what == "undo":
            world.undo(world.now - which * DAY, world.now + 1)
        elif what == "policy":
            world.adopt({"stream": STREAMS, "policy": POLICIES[which]})


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(actions=st.lists(ACTIONS, max_size=40))
def test_rebuilding_finds_no_difference(tmp_path_factory, actions):
    """Whatever happened in whatever order: the state is a fold over the facts."""
    with World(tmp_path_factory.mktemp("w"), {"stream": STREAMS}) as world:
        perform(world, actions)
        assert list(differences(world.store)) == []


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(actions=st.lists(ACTIONS, min_size=5, max_size=40))
def test_purging_changes_nothing_that_is_decided_later(tmp_path_factory, actions):
    """After a purge the store says the same of everybody, and rebuilding finds no difference."""
    with World(tmp_path_factory.mktemp("w"), {"stream": STREAMS}) as world:
        perform(world, actions)
        before = world.suppressed()
        for _ in purge(world.store, world.now - 100 * DAY):
            pass
        assert world.suppressed() == before
        assert list(differences(world.store)) == []


def damage(world):
    with world.store.writing() as connection:
        connection.execute(delete(schema.suppression).where(schema.suppression.c.scope == "*"))
        connection.execute(update(schema.address_state).values(state={}))


def test_rebuilding_mends_a_damaged_store(world):
    """Rows deleted, states emptied: the facts know."""
    for _ in range(2):
        world.bounce(world.send("ann@example.net"), "ann@example.net")
        world.wait("4d")
    before = world.suppressed()
    assert before
    damage(world)
    found = list(differences(world.store))
    assert [one.text for one in found] == ["ann@example.net"]
    for one in found:
        correct(world.store, one)
    assert world.suppressed() == before
    assert list(differences(world.store)) == []


def test_an_erased_person_stays_suppressed_and_erased(world):
    """Her text and what was said of her are gone; the old list comes in again, and she is still known."""
    to = "ann@example.net"
    for _ in range(2):
        world.bounce(world.send(to), to)
        world.wait("4d")
    with world.store.writing() as connection:
        key = address_key(SECRET, to)
        assert erase(connection, Address(find_number(connection, key), key)) > 3
    world.suppress("ANN@example.net", "news")
    assert world.why_not(to)
    assert list(differences(world.store)) == []
    with world.store.reading() as connection:
        content = str([list(connection.execute(table.select())) for table in schema.metadata.sorted_tables])
    assert "ann" not in content.lower().replace("channel", "")


def writer(url, count, clock):
    """A process that records failures of its own sends of an address that all share; all have one clock."""
    folder = Path(url.removeprefix("sqlite:///")).parent
    with World(folder, {"stream": STREAMS}) as world:
        for _ in range(count):
            with clock.get_lock():
                clock.value += 1
                world.now = BEGINS + clock.value * DAY
            world.bounce(world.send("shared@example.net", "invoices"), "shared@example.net", like="full")


def test_two_writers_never_both_miss_a_crossing(tmp_path):
    """Several processes count the same address at once; folding the facts gives their common result."""
    with World(tmp_path, {"stream": STREAMS}) as world:
        context = multiprocessing.get_context("spawn")
        clock = context.Value("q", 0)
        processes = [context.Process(target=writer, args=(world.url, 8, clock)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(PATIENCE)
            assert process.exitcode == 0
        assert list(differences(world.store)) == []
        world.now = BEGINS + clock.value * DAY
        assert world.suppressed() == {"shared@example.net": "*bulk soft"}
        with world.store.reading() as connection:
            facts = connection.scalars(schema.fact.select().with_only_columns(schema.fact.c.send_id)).all()
        assert len(set(facts)) == 24


@given(st.integers(0, 2**63), st.lists(st.integers(0, 10**12), max_size=5))
def test_a_state_survives_the_way_through_json(last, times):
    """What is written is what is read."""
    count = Count(
        tuple(CountedFailure("hard", at, at + 1, at + 2) for at in times),
        {"hard": len(times)} if times else {},
        1,
        {"*": 2},
        3,
    )
    waiting = CountedFailure("soft", 1, 2)
    state = State({"*": count, "news": Count(unconfirmed=waiting, claims=(waiting,), conflicts=(waiting,))}, last)
    assert from_dict(to_dict(state)) == state


def test_the_state_of_an_address_is_bounded(plain):
    """A loop of reports cannot make a row grow without limit."""
    for _ in range(MAX_FAILURES_KEPT + 20):
        plain.bounce(plain.send(stream="invoices") or plain.send("x@example.net"), like="full")
        plain.lift("bob@example.net")
        plain.wait("1m")
    with plain.store.reading() as connection:
        states = connection.scalars(schema.address_state.select().with_only_columns(schema.address_state.c.state))
        assert all(len(str(state)) < 6_000 for state in states)


@pytest.mark.parametrize("kind", ["delayed", "delivered", "relayed", "expanded", "mdn", "challenge", "not-a-report"])
def test_what_is_no_failure_never_counts(world, kind):
    """A thousand of them change nothing."""
    for _ in range(20):
        world.answer(world.send(), kind)
        world.wait("1d")
    assert world.suppressed() == {}


def test_rebuilding_and_simulating_read_many_addresses_at_once(world):
    """Not four statements for each of them: with millions that takes an hour."""
    for number in range(300):
        to = f"u{number}@side{number}.example"
        world.bounce(world.send(to), to, like="full")
    asked = []
    event.listen(world.store._reader, "before_cursor_execute", lambda *args: asked.append(args[2]))
    assert list(differences(world.store)) == []
    assert len(asked) < 20
    world.wait("400d")
    after = [one for chunk in rejudge(world.store, Policy.of(world.config)) for one in chunk]
    assert len(after) == 300 and all(one.before == one.after for one in after)
    assert len(asked) < 40


@pytest.mark.sqlite
def test_an_address_of_which_nothing_is_known_is_not_read(world):
    """Mail went to it, and that is all: of a million addresses nine in ten are such. One with a state, a suppression or
    a fact alone is looked at.
    """
    for number in range(20):
        world.send(f"u{number}@example.net")
    world.bounce(world.send("u3@example.net"), "u3@example.net")
    world.suppress("u7@example.net")
    for number, table in ((5, "address_state"), (9, "suppression")):
        columns = "(address_id, state) VALUES (%s, '{}')" if number == 5 else (
            "(address_key, scope, address_id, cause, since) VALUES (x'00', '*', %s, 'hard', 1)"
        )  # fmt: skip
        world.write(lambda connection, table=table, columns=columns, number=number: connection.exec_driver_sql(
            f"INSERT INTO {table} " + columns % f"(SELECT id FROM address WHERE text = 'u{number}@example.net')"
        ))  # fmt: skip
    found = [text for chunk in iterate_with_account(world.store) for _, text in chunk]
    assert found == [f"u{number}@example.net" for number in (3, 5, 7, 9)]
    assert [one.text for one in differences(world.store)] == []
