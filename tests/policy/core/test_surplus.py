"""Very many different reports to one token: counted, not recorded, and nothing that matters is lost among them."""

import pytest
from sqlalchemy import func, select

from retour_bounces import Report
from retour_policy.address import address_key
from retour_policy.maintenance.rebuild import differences
from retour_policy.messages.surplus import MAX_FACTS_A_DAY
from retour_policy.store import schema, sends
from retour_policy.store.addresses import find_number
from retour_policy.store.facts import FactFilter, read
from retour_policy.tokens.token import draw_id

BOB, ANN = "bob@example.net", "ann@example.net"
FLOOD = 3 * MAX_FACTS_A_DAY


def flood(world, send, how, to=BOB):
    """What comes of as many different reports."""
    return [how(world, send, to) for _ in range(FLOOD)]


def autoreply(world, send, to):
    return world.answer(send, "autoreply", to)


def blocked(world, send, to):
    return world.bounce(send, to, like="blocked")


def unread(world, send, to):
    return world.returned(send, None, to)


def letter(world, send, to):
    return world.returned(send, Report("not-a-report"), to)


def kinds(world):
    with world.store.reading() as connection:
        return [fact.what.kind for fact in read(connection, FactFilter())]


def rows(world, table):
    with world.store.reading() as connection:
        return connection.scalar(select(func.count()).select_from(table))


@pytest.mark.parametrize("how", [autoreply, blocked, unread, letter])
def test_what_is_beyond_the_bound_is_counted_in_one_fact(world, how):
    """The store keeps the bounded number of facts, of digests and of forwards, and one number."""
    send = world.send()
    outcomes = flood(world, send, how)
    assert outcomes.count("surplus") == FLOOD - MAX_FACTS_A_DAY
    with world.store.reading() as connection:
        (counted,) = read(connection, FactFilter(kind="surplus"))
    assert counted.what.detail == {"count": FLOOD - MAX_FACTS_A_DAY}
    assert len(kinds(world)) == MAX_FACTS_A_DAY + 1
    assert rows(world, schema.seen) == MAX_FACTS_A_DAY
    assert rows(world, schema.outbox) <= MAX_FACTS_A_DAY
    assert list(differences(world.store)) == []


@pytest.mark.parametrize("how", [autoreply, blocked, letter, unread])
@pytest.mark.parametrize("like", ["gone", "complaint"])
def test_a_flood_hides_nothing_that_counts(world, how, like):
    """Whoever floods a token cannot keep the real report about it from its effect; rebuild agrees."""
    send = world.send()
    flood(world, send, how)
    if like == "complaint":
        assert world.answer(send, "complaint") == "recorded"
        assert world.suppressed() == {BOB: "*bulk complaint"}
    else:
        assert world.bounce(send) == "recorded"
        assert world.suppressed() == {BOB: "*bulk pause"}
    assert list(differences(world.store)) == []


def test_a_flood_hides_no_failed_resend(world):
    """Hooks are told of each attempt, also of one that counts against nobody."""
    send, resend = world.send(spool="copy"), draw_id(world.now)
    flood(world, send, blocked)
    with world.store.reading() as connection:
        first = sends.find(connection, send)
    assert world.write(lambda connection: sends.record_resend(connection, first, resend))
    assert [blocked(world, resend, BOB) for _ in range(2)] == ["recorded", "surplus"]


def test_a_flood_about_one_recipient_leaves_room_for_another(world):
    """They share the token."""
    send = world.send((BOB, ANN))
    flood(world, send, blocked)
    assert world.bounce(send, ANN, like="blocked") == "recorded"


def test_the_next_day_has_room_again(world):
    """And its surplus is a fact of its own."""
    send = world.send()
    for _ in range(2):
        flood(world, send, autoreply)
        world.wait("1d")
    assert (kinds(world).count("autoreply"), kinds(world).count("surplus")) == (2 * MAX_FACTS_A_DAY, 2)


def test_what_came_before_the_flood_keeps_its_effect(world):
    """The pause stands, the failure is counted once, and an erasure leaves nothing but the number."""
    send = world.send()
    world.bounce(send)
    flood(world, send, lambda world, send, to: world.bounce(send, to))
    assert world.suppressed() == {BOB: "*bulk pause"}
    assert world.counts(BOB) == {"*": {"hard": 1}}
    world.erase(BOB)
    with world.store.reading() as connection:
        (counted,) = read(connection, FactFilter(kind="surplus"))
        assert find_number(connection, address_key(bytes(32), BOB)) == counted.what.address_id
    assert counted.what.detail == {"count": FLOOD + 1 - MAX_FACTS_A_DAY}
    world.bounce(send)
    assert list(differences(world.store)) == []


def test_each_of_a_hundred_people_may_answer(world):
    """What comes to a shared token and names nobody may be from any of them: all of it reaches postmaster."""
    send = world.send([f"p{number}@s{number}.example" for number in range(100)])
    assert [letter(world, send, "p1@s1.example") for _ in range(MAX_FACTS_A_DAY + 10)] == ["forwarded"] * (
        MAX_FACTS_A_DAY + 10
    )
