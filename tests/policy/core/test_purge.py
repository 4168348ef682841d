"""Purging: what is old is deleted, and nobody is treated otherwise for it."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, insert, select
from sqlalchemy.dialects import postgresql

from lab.world import World
from retour_policy.clock import DAY
from retour_policy.ledger import history
from retour_policy.maintenance import purge
from retour_policy.maintenance.rebuild import differences
from retour_policy.store import addresses, batches, retention, schema
from retour_policy.tokens.token import first_id

STREAMS = [{"name": "news"}, {"name": "promo", "policy": {"hard": 3}}, {"name": "invoices", "transactional": True}]
POLICIES = ({}, {"scope": "stream"}, {"heal_sends": 2, "heal_after": "20d"}, {"distinct_days": False, "pause": "0s"})
STORM = {"least": 3, "all_of": 2, "repeats_over": "5d", "soft_repeats_over": "20d"}
LIKES = st.sampled_from(["gone", "gone", "full", "timeout", "blocked"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(["news", "promo", "invoices"]), st.none()),
        st.tuples(st.just("bounce"), st.integers(0, 6), LIKES),
        st.tuples(st.just("burst"), st.sampled_from(["gone", "gone", "full"]), st.none()),
        st.tuples(st.just("wait"), st.sampled_from(["1d", "4d", "9d", "9d", "30d", "70d"]), st.none()),
        st.tuples(st.just("policy"), st.integers(0, len(POLICIES) - 1), st.none()),
        st.tuples(st.just("undo"), st.integers(0, 120), st.none()),
        st.tuples(st.just("purge"), st.none(), st.none()),
    ),
    max_size=60,
)


def run_purge(world, keep=90):
    return sum(purge.purge(world.store, world.now - keep * DAY))


def perform(world, steps, *, purging):
    """Do what the list says; what was decided, and how far the clock went."""
    made, told = [], []
    for what, which, how in steps:
        if what == "send":
            made.append((world.now, world.send(stream=which)))
        elif what == "bounce" and which < len(made):
            at, send = made[-1 - which]
            if send and world.now - at < 60 * DAY:  # a token lives no longer than that
                world.bounce(send, like=how)
        elif what == "burst":
            everybody = [(world.send(to), to) for to in ("ann@example.net", "eve@example.net", "bob@example.net")]
            for send, to in everybody:
                if send:
                    world.bounce(send, to, like=which)
            world.tick()
        elif what == "wait":
            world.wait(which)
            world.tick()
        elif what == "policy":
            world.adopt({"stream": STREAMS, "policy": POLICIES[which], "storm": STORM})
        elif what == "undo" and which < 85:
            world.undo(world.now - which * DAY, world.now)
        elif what == "purge" and purging:
            run_purge(world)
            assert list(differences(world.store)) == []
        told.append([str(world.why_not(stream=stream["name"])) for stream in STREAMS])
    return [[text.partition("fact=")[0] for text in one] for one in told]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, begins=st.integers(0, 6))
def test_who_purges_decides_as_who_keeps_everything(tmp_path_factory, steps, begins):
    """The same weeks in two stores, one of which is purged again and again."""
    steps = [("send", "news", None), ("bounce", 0, "gone")] * bool(begins % 2) + steps
    found = []
    for purging in (True, False):
        with World(tmp_path_factory.mktemp("w"), {"stream": STREAMS, "storm": STORM}) as world:
            found.append(perform(world, steps, purging=purging))
            assert list(differences(world.store)) == []
    assert found[0] == found[1]


def rows(world, table):
    with world.store.reading() as connection:
        return connection.scalar(select(func.count()).select_from(table))


def test_good_sends_heal_after_their_records_are_purged(world):
    """One failure, three good sends, a purge: the next failure is a first one again."""
    world.bounce(world.send())
    world.wait("5d")
    for _ in range(3):
        assert world.send()
        world.wait("1d")
    world.wait("120d")
    assert run_purge(world) > 4
    assert rows(world, schema.send) == rows(world, schema.send_recipient) == 0
    assert list(differences(world.store)) == []
    world.bounce(world.send())
    assert world.why_not().cause == "pause"
    assert list(differences(world.store)) == []


def test_what_a_storm_holds_is_found_by_yearly_mailings_with_a_purge_each_night(world):
    """It is kept until it counts, or until a good send came: then it goes with all that is old."""
    people = [f"u{n}@dead.example" for n in range(6)]
    for _ in range(3):
        for send, to in [(world.send(to), to) for to in people]:
            world.bounce(send, to)
        world.tick()
        world.wait("1h")
        found = set(world.suppressed())
        for _ in range(4):
            world.wait("91d")
            world.tick()
            run_purge(world)
        assert list(differences(world.store)) == []
    assert found == set(people)


def test_what_a_storm_held_of_the_living_is_purged(world):
    """Three years of mail arrived since."""
    people = [f"u{n}@big.example" for n in range(6)]
    for send, to in [(world.send(to), to) for to in people]:
        world.bounce(send, to)
    world.tick()
    for _ in range(2):
        world.wait("60d")
        for to in people:
            world.send(to)
    world.wait("120d")
    run_purge(world)
    assert rows(world, schema.fact) == 0
    assert list(differences(world.store)) == []


def test_good_sends_between_two_purges_heal_too(world):
    """The failure is carried over by the first purge, and the good sends fall to the second."""
    world.bounce(world.send())
    world.wait("95d")
    run_purge(world)
    for _ in range(3):
        assert world.send()
        world.wait("1d")
    world.wait("120d")
    run_purge(world)
    run_purge(world)
    world.bounce(world.send())
    assert world.why_not().cause == "pause"
    assert list(differences(world.store)) == []


def test_what_the_postmaster_let_count_still_counts_after_a_purge(world):
    """A fact that younger ones speak of is kept as long as they are."""
    sends = [(world.send(f"u{n}@gmail.example"), f"u{n}@gmail.example") for n in range(6)]
    for send, to in sends:
        world.bounce(send, to)
    world.tick()
    world.wait("50d")
    world.settle(world.storm_list()[0].id, count=True)
    before = world.counts("u1@gmail.example")
    assert before
    world.wait("60d")  # the failures are 110 days old, the word of the postmaster 60
    run_purge(world)
    assert world.counts("u1@gmail.example") == before
    assert list(differences(world.store)) == []


def test_purging_reads_each_table_once(world, monkeypatch):
    """Young rows, carried ones and young counters are not gone through again with every few that are deleted."""
    world.adopt({"stream": STREAMS, "storm": {"least": 0}})
    for number in range(400):
        world.bounce(world.send(f"u{number}@side{number}.example"), f"u{number}@side{number}.example", like="full")
    world.wait("120d")
    reads = []
    reading = world.store.reading
    monkeypatch.setattr(world.store, "reading", lambda: reads.append(1) or reading())
    assert run_purge(world) >= 1_200
    assert len(reads) < 60
    assert list(differences(world.store)) == []


def test_an_address_that_is_not_written_to_any_more_is_deleted(world):
    """Neither an address that all mail reached, nor one whose mail was only delayed, stays in the store without end."""
    world.send("fine@example.net")
    world.answer(world.send("slow@example.net"), "delayed", "slow@example.net")
    world.bounce(world.send("gone@example.net"), "gone@example.net")
    world.send("erased@example.net")
    world.erase("erased@example.net")
    world.suppress("stopped@example.net")
    world.wait("120d")
    world.send("young@example.net")
    run_purge(world)
    with world.store.reading() as connection:
        left = set(connection.scalars(select(schema.address.c.text)))
    assert left == {"gone@example.net", "stopped@example.net", "young@example.net", None}
    assert list(differences(world.store)) == []
    assert world.send("fine@example.net") and world.send("slow@example.net")


def test_what_comes_in_between_keeps_an_address(world):
    """Found without anything known about it, and sent to before it is removed."""
    world.send("back@example.net")
    world.wait("120d")
    delete_unknown_addresses = retention.delete_unknown_addresses
    with pytest.MonkeyPatch.context() as patch:

        def late(connection, keys):
            number = keys[0][0]
            row = {"send_id": 1, "address_id": number}
            connection.execute(schema.send.insert().values(id=1, stream="news", sender="a", recipients=1))
            connection.execute(schema.send_recipient.insert().values(row))
            delete_unknown_addresses(connection, keys)

        patch.setattr(retention, "delete_unknown_addresses", late)
        run_purge(world)
    assert rows(world, schema.address) == 1


@pytest.mark.parametrize("stays", [0, 1])
def test_two_purges_at_once(world, monkeypatch, stays):
    """The timers of two hosts go off together: what one has found the other has deleted."""
    for name in ("slow", "late"):
        world.answer(world.send(f"{name}@example.net"), "delayed", f"{name}@example.net")
    if stays:
        world.bounce(world.send("gone@example.net"), "gone@example.net")
    world.wait("120d")
    iterate = retention.iterate_addresses_to_carry

    def overtaken(*args):
        for found in iterate(*args):
            assert len(found) == 2 + stays
            with monkeypatch.context() as patch:
                patch.setattr(retention, "iterate_addresses_to_carry", iterate)
                run_purge(world)
            yield found

    monkeypatch.setattr(retention, "iterate_addresses_to_carry", overtaken)
    run_purge(world)
    assert rows(world, schema.address) == stays
    assert list(differences(world.store)) == []


def test_what_is_being_written_about_is_passed_by():
    """On a server with many writers both sides lock the address, and neither waits for the other nor fails."""
    for statement, end in (
        (retention._LOCK_UNLOCKED, "FOR UPDATE SKIP LOCKED"),
        (retention._KEEP_BY_IDS, "FOR KEY SHARE"),
        (addresses._KEEP_BY_KEYS, "FOR KEY SHARE"),
    ):
        assert str(statement.compile(dialect=postgresql.dialect())).endswith(end)


@pytest.mark.parametrize("good", [63, 64, 65, 150])
def test_good_sends_count_once_however_often_a_purge_is_stopped(tmp_path, good):
    """What was counted before it is deleted neither makes others good nor is lost: the 64th clears the count."""
    with World(tmp_path / "w", {"stream": STREAMS, "policy": {"heal_sends": 64}}) as world:
        world.bounce(world.send())
        world.wait("4d")
        for _ in range(good):
            assert world.send()
        world.wait("120d")
        for _ in range(3):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(purge, "_sweeps", lambda _: [])
                run_purge(world)
            world.wait("1d")
            assert list(differences(world.store)) == []
        run_purge(world)
        assert rows(world, schema.send_recipient) == 0
        world.bounce(world.send())
        assert world.counts("bob@example.net") == {"*": {"hard": 2 if good < 64 else 1}}
        assert list(differences(world.store)) == []


def test_what_is_sent_much_to_is_purged_a_little_at_a_time(world, monkeypatch):
    """Thousands of sends, to many or to one: a transaction removes few rows, and goes by the histories of few."""
    names = [f"u{number}@example.net" for number in range(8)]
    for name in names:
        world.bounce(world.send(name), name, like="full")
        world.wait("1h")
    began = first_id(world.now)
    with world.store.writing() as connection:
        for of, many in enumerate((600, 600, 600, 600, 600, 600, 600, 3_000), 1):
            made = [began + 10_000 * of + number for number in range(many)]
            send = {"stream": "news", "sender": "a", "recipients": 1}
            connection.execute(insert(schema.send), [{"id": one} | send for one in made])
            connection.execute(insert(schema.send_recipient), [{"send_id": one, "address_id": of} for one in made])
    world.wait("120d")
    removed, looked_at = [0], []
    told = history.read
    monkeypatch.setattr(batches, "MAX_BATCH_MS", 0)

    def telling(connection, some, *more):
        looked_at.append(len(some))
        return told(connection, some, *more)

    monkeypatch.setattr(history, "read", telling)

    def count(_connection, cursor, statement, *_):
        if statement.startswith("DELETE"):
            removed[-1] += cursor.rowcount

    event.listen(world.store._writer, "after_cursor_execute", count)
    event.listen(world.store._writer, "commit", lambda _: removed.append(0))
    run_purge(world)
    assert sum(removed) >= 2 * 7_200
    assert max(removed) <= 100
    assert max(looked_at) == 3  # of 600 sends each
    assert rows(world, schema.send_recipient) == 0
    assert list(differences(world.store)) == []


@pytest.mark.sqlite
def test_what_was_seen_is_found_by_its_time(world):
    """With millions of reports the young ones are not gone through."""
    world.bounce(world.send())
    asked = []
    event.listen(world.store._reader, "before_cursor_execute", lambda *args: asked.append((args[2], args[3])))
    run_purge(world)
    ((statement, values),) = [(text, given) for text, given in asked if "FROM seen" in text]
    with world.store.reading() as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all())
    assert "seen_by_time" in plan and "SCAN" not in plan and "TEMP B-TREE" not in plan


def test_a_token_that_several_people_have_proves_no_more_after_a_purge(tmp_path):
    """The purge deletes what was known of one recipient's part: the others cannot unsubscribe each other."""
    bob, both = "bob@example.net", ("bob@example.net", "mallory@example.com")
    with World(tmp_path, {"tokens": {"bounce_days": 400}}) as world:
        send = world.send(both)
        world.bounce(send, like="blocked")
        world.wait("160d")
        world.bounce(send, like="vague")
        world.wait("1d")
        run_purge(world)
        world.answer(send, "unsubscribe")
        assert world.suppressed() == {} and world.why_not(bob) is None
