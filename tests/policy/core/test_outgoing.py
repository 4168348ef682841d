"""Outgoing mail: the trial that comes again, and recipients to whom a send can never be a good one."""

import pytest
from sqlalchemy import event

from lab.world import SECRET, World
from retour_bounces import Report
from retour_policy.address import address_key
from retour_policy.clock import DAY
from retour_policy.core.suppression import Suppression
from retour_policy.maintenance.purge import purge
from retour_policy.maintenance.rebuild import differences
from retour_policy.store import sends
from retour_policy.store.addresses import find_number
from retour_policy.store.sends import NewSend

BOB, EVE = "bob@example.net", "eve@example.net"
BY_HAND = Suppression("*", "operator", 0, None)


def hand(world, *recipients, withheld=(), stream="news", **values):
    """What the milter does with a message once it has been seen whole."""
    new = NewSend(stream, "app@example.com", recipients or (BOB,), **values)
    why = dict.fromkeys(withheld, BY_HAND)
    return world.write(lambda connection: world.outgoing.record(connection, new, why, track=True, watch=True))


def refused(world, *recipients, **values):
    """The causes for which the recipients of a message do not get it."""
    return {one: why.cause for one, why in hand(world, *recipients, **values).newly_suppressed.items()}


def find(world, number):
    with world.store.reading() as connection:
        return sends.find(connection, number)


def good_to(world, to, after, at=None):
    """How many sends to an address made after then were good: as counted live, and as a rebuild has them."""
    rules = world.ledger.policy.for_stream("news").rules
    with world.store.reading() as connection:
        number = find_number(connection, address_key(SECRET, to))
        until = (at or world.now) - rules.heal_after
        live = len(sends.read_unfailed(connection, number, after, until, rules.heal_sends))
        made = [send for send, _ in sends.read_times(connection, [number])[number]]
    return live, made


@pytest.fixture
def waiting(world):
    """A world in which Bob's suppression has just run out: one send may try."""
    for _ in range(2):
        world.bounce(world.send())
        world.wait("4d")
    world.wait("180d")
    return world


def test_a_trial_that_was_put_off_may_try_again(waiting):
    """The mail server behind us answered 451: the same message comes again, hours and days later, and goes."""
    assert refused(waiting, message_id="<1@x>") == {}
    for span in ("1h", "1d", "3d"):
        waiting.wait(span)
        assert refused(waiting, message_id="<1@x>") == {}
    assert refused(waiting, message_id="<2@x>") == {BOB: "trial"}
    assert refused(waiting) == {BOB: "trial"}
    assert list(differences(waiting.store)) == []


def test_a_trial_is_known_by_its_queue_id_too(waiting):
    """A mail server that hands over the same file again keeps its number; no message is the same for having neither."""
    assert refused(waiting, queue_id="4XYZ") == {}
    assert refused(waiting, queue_id="4XYZ") == {}
    assert refused(waiting, queue_id="5XYZ") == {BOB: "trial"}


def test_a_trial_opens_no_other_suppression(waiting):
    """What the postmaster suppressed meanwhile holds for the message that tries as well."""
    assert refused(waiting, message_id="<1@x>") == {}
    waiting.suppress(BOB, scope="news")
    assert refused(waiting, message_id="<1@x>") == {BOB: "operator"}


def test_the_trial_of_an_erased_person_keeps_no_message_id(waiting):
    """Nothing about them is written down again."""
    waiting.erase(BOB)
    assert refused(waiting, message_id="<1@x>") == {}
    with waiting.store.reading() as connection:
        (detail,) = connection.exec_driver_sql("SELECT detail FROM fact WHERE kind = 'trial'").scalars()
    assert "<1@x>" not in detail


def test_a_message_that_comes_again_was_put_off_before(world):
    """The earlier try reached nobody that we know of: no good send, the later one is. A report finds either."""
    first = hand(world, BOB, EVE, message_id="<1@x>").send
    world.wait("1h")
    second = hand(world, BOB, message_id="<1@x>").send
    world.wait("8d")
    assert good_to(world, BOB, 0) == (1, [second])
    assert good_to(world, EVE, 0) == (1, [first])
    assert len(find(world, first).recipients) == 2
    assert world.bounce(first, BOB) == "recorded"
    assert list(differences(world.store)) == []


def test_another_stream_another_message_or_a_week_later_is_no_second_try(world):
    """A Message-ID that an application uses for ever makes nobody look dead."""
    made = [hand(world, message_id="<1@x>").send]
    made.append(hand(world, message_id="<1@x>", stream="other").send)
    made.append(hand(world, message_id="<2@x>").send)
    world.wait("6d")
    made.append(hand(world, message_id="<1@x>").send)
    made += [hand(world).send, hand(world).send]
    assert good_to(world, BOB, 0)[1] == sorted(made)


def test_who_was_withheld_stands_in_the_record_and_got_nothing(world):
    """No good send to them; a report that names them is laid to nobody, and postmaster sees it."""
    number = hand(world, BOB, withheld=[EVE]).send
    send = find(world, number)
    assert (len(send.recipients), send.withheld) == (1, {address_key(SECRET, EVE)})
    world.wait("8d")
    assert good_to(world, EVE, 0) == (0, [])
    assert world.bounce(number, EVE) == "forwarded"
    assert world.answer(number, "complaint", EVE) == "forwarded"
    assert (world.counts(BOB), world.counts(EVE), world.suppressed()) == ({}, {}, {})
    assert world.returned(number, Report("bounce"), BOB) == "recorded"  # it names nobody: the only one who got it
    assert world.bounce(number, BOB) == "recorded"
    assert world.counts(BOB) == {"*": {"hard": 1}}


def test_who_no_report_comes_of_never_had_a_good_send(world):
    """Whoever else got the message did; should a report come all the same, it finds them."""
    number = hand(world, BOB, EVE, unheard=frozenset([EVE])).send
    world.wait("8d")
    assert good_to(world, BOB, 0) == (1, [number])
    assert good_to(world, EVE, 0) == (0, [])
    with world.store.reading() as connection:
        assert sends.count_to(connection, find_number(connection, address_key(SECRET, EVE))) == (1, number)
    assert len(find(world, number).recipients) == 2
    alone = hand(world, EVE, unheard=frozenset([EVE])).send
    assert world.bounce(alone, EVE) == "recorded"
    assert world.counts(EVE) == {"*": {"hard": 1}}


def test_a_purge_and_an_erasure_leave_nothing_of_recipients_apart(world):
    """Their rows go with the send; header values of a message to one person go with that person."""
    hand(world, BOB, withheld=[EVE], message_id="<1@x>")
    world.wait("1h")
    hand(world, EVE, unheard=frozenset([EVE]), message_id="<2@x>")
    world.erase(EVE)
    with world.store.reading() as connection:
        kept = connection.exec_driver_sql("SELECT message_id FROM send ORDER BY id").scalars().all()
    assert kept == ["<1@x>", None]
    world.wait("500d")
    for _ in purge(world.store, world.now - 90 * DAY):
        pass
    with world.store.reading() as connection:
        for table in ("send", "send_recipient", "recipient_apart"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0
        assert connection.exec_driver_sql("SELECT text FROM address").scalars().all() == [None]  # erased ones stay


@pytest.mark.sqlite
def test_a_message_id_that_a_whole_list_shares_costs_nothing(world):
    """Earlier tries are looked for among the sends to these addresses, not among all copies of the message."""
    asked = []
    hand(world, message_id="<1@x>")
    event.listen(world.store._writer, "before_cursor_execute", lambda *args: asked.append((args[2], args[3])))
    hand(world, message_id="<1@x>")
    (statement, values) = next((text, values) for text, values in asked if "coalesce(send.message_id" in text)
    with world.store.reading() as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all())
    assert "send_recipient_by_address" in plan and "send_by_message_id" not in plan and "SCAN" not in plan


def test_what_has_healed_a_count_is_not_set_apart_later(tmp_path):
    """With a `heal_after` of two days the same Message-ID four days later is another message: a rebuild agrees."""
    policy = {"heal_after": "2d", "heal_sends": 1, "pause": "0s"}
    with World(tmp_path, {"stream": [{"name": "news"}], "policy": policy}) as world:
        world.bounce(world.send())
        world.wait("1d")
        hand(world, BOB, message_id="<m@x>")
        world.wait("3d")
        world.bounce(world.send())
        hand(world, BOB, message_id="<m@x>")
        assert list(differences(world.store)) == []


@pytest.mark.parametrize("other", ["other", "news"])
def test_each_trial_is_a_message_of_its_own(tmp_path, other):
    """Two streams count by themselves, and both try: neither message opens the other's trial, nor takes it away."""
    config = {"stream": [{"name": "news"}, {"name": "other"}], "policy": {"scope": "stream"}}
    with World(tmp_path, config) as world:
        for _ in range(2):
            for stream in ("news", "other"):
                world.bounce(world.send(stream=stream))
            world.wait("4d")
        world.wait("180d")
        assert refused(world, message_id="<1@x>", stream="news") == {}
        world.wait("1h")
        assert refused(world, message_id="<2@x>", stream="other") == {}
        world.wait("1h")
        its_own = {"news": "<1@x>", "other": "<2@x>"}
        for stream, message_id in its_own.items():
            assert refused(world, message_id=message_id, stream=stream) == {}
        foreign = its_own["news" if other == "other" else "other"]
        assert refused(world, message_id=foreign, stream=other) == {BOB: "trial"}
