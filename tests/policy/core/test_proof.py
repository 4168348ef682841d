"""Proof: what a report that several could have written, or anybody, leads to."""

from types import SimpleNamespace

import pytest
from sqlalchemy import event

from lab.world import SECRET
from retour_policy.address import address_key
from retour_policy.maintenance.rebuild import differences
from retour_policy.messages import outgoing
from retour_policy.store import suppressions
from retour_policy.store.addresses import find_number
from retour_policy.store.facts import read_of_send
from retour_policy.store.sends import NewSend

BOTH = ("ann@example.net", "bob@example.net")
ANN, BOB = BOTH


def test_a_shared_failure_does_not_wait_for_ever(world):
    """Two years lie between them: the second is a first one, not the second of two."""
    world.bounce(world.send(BOTH), BOB)
    world.wait("700d")
    world.bounce(world.send())
    assert world.suppressed() == {BOB: "*bulk pause"}


def test_good_sends_clear_a_shared_failure_that_waits(world):
    """Three newsletters arrived since."""
    world.bounce(world.send(BOTH), BOB)
    for _ in range(3):
        world.wait("3d")
        world.send()
    world.wait("8d")
    world.bounce(world.send())
    assert world.suppressed() == {BOB: "*bulk pause"}


def test_two_shared_failures_of_two_sends_count(world):
    """The other recipients of one message cannot have written both."""
    world.bounce(world.send(BOTH), BOB)
    world.wait("4d")
    assert world.suppressed() == {}
    world.bounce(world.send(BOTH), BOB)
    assert world.suppressed() == {BOB: "* hard"}


@pytest.mark.parametrize("kind", ["complaint", "unsubscribe"])
def test_nobody_unsubscribes_another(world, kind):
    """Ann got the same message and writes as if she were Bob: it needs two messages, or a token for Bob alone."""
    first = world.send(BOTH)
    world.answer(first, kind, BOB)
    world.answer(first, kind, BOB)
    assert world.suppressed() == {}
    world.bounce(world.send(), like="gone")
    assert world.suppressed() == {BOB: "*bulk pause"}
    world.wait("4d")
    world.answer(world.send(BOTH), kind, BOB)
    assert world.why_not(BOB).cause == kind
    world.answer(world.send(ANN, "promo"), kind, ANN)
    assert world.why_not(ANN, "promo").cause == kind


def test_what_the_postmaster_suppressed_for_a_while_gives_way_to_what_lasts_longer(world):
    """Until tomorrow by hand, then twice a hard bounce: 180 days, not one."""
    sends = [world.send(stream="invoices")]
    world.bounce(sends[0])
    world.wait("4d")
    late = world.send(stream="invoices")
    world.suppress(BOB, "*", world.now + 86_400_000)
    world.bounce(late)
    assert world.why_not(stream="invoices").cause == "hard"


def test_a_complaint_outlasts_what_is_weaker(world):
    """A full mailbox for months after it: still a complaint, still for good."""
    world.answer(world.send(), "complaint")
    since = world.why_not().since
    for _ in range(8):
        world.bounce(world.send(stream="invoices"), like="full")
        world.wait("5d")
    assert (world.why_not().cause, world.why_not().since, world.why_not().until) == ("complaint", since, None)


def test_a_send_fails_once(world):
    """Delayed, then full, then gone: one failure of one send, and the worst says what it was."""
    send = world.send()
    world.answer(send, "delayed")
    world.bounce(send, like="full")
    world.wait("1d")
    world.bounce(send, like="gone")
    assert world.counts(BOB) == {"*": {"hard": 1}} and world.suppressed() == {BOB: "*bulk pause"}


def test_a_trial_whose_bounce_comes_after_more_than_a_week(world):
    """The others went out by then; the next suppression is twice as long all the same."""
    for _ in range(2):
        world.bounce(world.send())
        world.wait("4d")
    world.wait("180d")
    trial = world.send()
    world.wait("9d")
    assert world.send(stream="promo")
    world.bounce(trial)
    found = world.why_not()
    assert (found.cause, (found.until - found.since) // 86_400_000) == ("hard", 360)


def test_for_good_is_for_good(world):
    """`hard_for = "0s"`: no end, no trial."""
    world.adopt({"stream": [{"name": "news", "policy": {"hard": 1, "hard_for": "0s"}}]})
    world.bounce(world.send())
    world.wait("9000d")
    assert world.why_not().until is None and world.send() is None


def test_each_fact_is_judged_by_the_policy_in_force_then(world):
    """Under plain counting a blocked message counted; under the careful policy the next one does not."""
    world.adopt({"stream": [{"name": "news"}], "policy": {"preset": "plain"}})
    for _ in range(2):
        world.bounce(world.send(), like="blocked")
    world.adopt({"stream": [{"name": "news"}]})
    for _ in range(3):
        world.bounce(world.send(), like="blocked")
    assert world.counts(BOB) == {"*": {"hard": 2}} and world.suppressed() == {}
    world.wait("1d")
    world.adopt({"stream": [{"name": "news"}], "policy": {"preset": "plain"}})
    world.bounce(world.send(), like="blocked")
    assert world.suppressed() == {BOB: "* hard"}


@pytest.mark.parametrize("kind", ["complaint", "unsubscribe", "opt-out"])
def test_what_a_person_says_counts_beside_a_failure_of_the_same_send(world, kind):
    """It bounced at one of their mailboxes, and they complain from another."""
    send = world.send()
    world.bounce(send, like="full")
    world.answer(send, kind)
    assert world.why_not().cause == ("complaint" if kind == "complaint" else "unsubscribe")


def test_a_failure_that_counts_for_nobody_uses_up_nothing(world):
    """Refused as spam by one server of theirs, then by the next because there is no such mailbox: that one counts."""
    send = world.send()
    for like in ("blocked", "vague", "large"):
        world.bounce(send, like=like)
        assert world.suppressed() == {}
    world.bounce(send, like="gone")
    assert world.suppressed() == {BOB: "*bulk pause"}
    world.bounce(send, like="gone")
    assert world.counts(BOB) == {"*": {"hard": 1}}
    assert list(differences(world.store)) == []


def test_what_counted_under_an_older_policy_is_used_up(world):
    """Plain counting took the blocked message for a failure; the careful policy does not count the send again."""
    world.adopt({"stream": [{"name": "news"}], "policy": {"preset": "plain"}})
    send = world.send()
    world.bounce(send, like="blocked")
    world.adopt({"stream": [{"name": "news"}]})
    world.bounce(send, like="gone")
    assert world.counts(BOB) == {"*": {"hard": 1}} and world.suppressed() == {}
    assert list(differences(world.store)) == []


def test_a_thousand_reports_of_one_send_cost_what_the_first_cost(world):
    """Anybody with a token can send report after report: what came before is looked up, not scanned."""
    send = world.send()
    for number in range(60):
        world.bounce(send, like=("blocked", "gone")[number % 2])
    with world.store.reading() as connection:
        number = find_number(connection, address_key(SECRET, BOB))
        assert len(read_of_send(connection, send, number, ["bounce"])) == 2
    asked = []
    event.listen(world.store._writer, "before_cursor_execute", lambda *args: asked.append(args[2]))
    world.bounce(send, like="gone")
    assert len(asked) < 20 and world.counts(BOB) == {"*": {"hard": 1}}


def test_two_hosts_make_one_trial(world, monkeypatch):
    """Both look before either has written: the row's lock shows the second that a trial is in progress."""
    for _ in range(2):
        world.bounce(world.send())
        world.wait("4d")
    world.wait("180d")
    with world.store.reading() as connection:
        stale = suppressions.read(connection, [address_key(SECRET, BOB)])
    assert world.send()
    looked_before = SimpleNamespace(read=lambda *_: stale)
    monkeypatch.setattr(outgoing, "suppressions", looked_before)
    new = NewSend("promo", "app@example.com", (BOB,))
    gone = world.write(lambda connection: world.outgoing.record(connection, new, {}, track=True, watch=True))
    assert gone.newly_suppressed[BOB].cause == "trial"
    monkeypatch.undo()
    assert list(differences(world.store)) == []
