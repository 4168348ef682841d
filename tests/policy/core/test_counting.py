"""Counting: what one suppression, one send and one trial may and may not do to the next."""

import pytest

from lab.world import World
from retour_policy.clock import DAY
from retour_policy.core.decide import MAX_FAILURES_KEPT
from retour_policy.maintenance.rebuild import differences
from retour_policy.store.sends import NewSend

BOB = "bob@example.net"


def until_suppressed(world, stream="invoices", like="gone"):
    """How many daily mails bounce before nothing is sent any more."""
    for number in range(60):
        send = world.send(stream=stream)
        if send is None:
            return number
        world.bounce(send, like=like)
        world.wait("1d")
    return 60


@pytest.mark.parametrize("full", [False, True])
def test_a_suppression_in_bulk_mail_shields_nobody_from_what_their_invoices_say(world, full):
    """Full, so bulk mail stops; then deleted: the daily invoices find it as soon as they would without that."""
    for send in iter(world.send, None) if full else ():
        world.bounce(send, like="full")
        world.wait("3d")
    assert until_suppressed(world) == 4
    assert world.why_not(stream="invoices").cause == "hard"
    assert list(differences(world.store)) == []


def test_the_worst_verdict_of_a_send_counts(world):
    """First the mailbox is full, then, at the resend, gone: one hard failure, no soft one. Not the other way round."""
    send = world.send()
    world.bounce(send, like="full")
    world.wait("4h")
    world.bounce(send, like="gone")
    assert world.counts(BOB) == {"*": {"hard": 1}} and world.why_not().cause == "pause"
    world.bounce(send, like="full")
    world.bounce(send, like="gone")
    assert world.counts(BOB) == {"*": {"hard": 1}}
    assert list(differences(world.store)) == []


def test_the_worst_verdict_of_a_shared_send_waits_for_another_send_all_the_same(world):
    """Soft, then hard, both about one message to two: still one send."""
    send = world.send((BOB, "ann@example.net"))
    world.bounce(send, like="full")
    world.bounce(send, like="gone")
    assert world.suppressed() == {} and world.counts(BOB).get("*", {}) == {}
    world.wait("4d")
    world.bounce(world.send(), like="gone")
    assert world.suppressed() == {BOB: "* hard"}
    assert list(differences(world.store)) == []


def test_a_send_whose_verdict_worsens_counts_once_for_a_storm(world):
    """Nineteen mailboxes of one side, full and then gone, of sixty: no storm."""
    people = [f"u{n}@side.example" for n in range(60)]
    sends = [(world.send(to), to) for to in people]
    for like in ("full", "gone"):
        for send, to in sends[:19]:
            world.bounce(send, to, like=like)
    assert world.storm_list() == []


@pytest.mark.parametrize("like", ["gone", "full", "timeout"])
def test_a_trial_that_fails_renews_its_suppression_at_least_as_long(world, like):
    """However it fails, and however old the failures are that led to the suppression."""
    for _ in range(2):
        world.bounce(world.send())
        world.wait("4d")
    lasted = 180
    for _ in range(4):
        world.wait(f"{lasted + 1}d")
        trial = world.send()
        assert trial and world.send() is None
        world.bounce(trial, like=like)
        found = world.why_not()
        assert found.cause != "trial" and (found.until - found.since) // DAY >= lasted and found.tries
        lasted = (found.until - found.since) // DAY
        assert list(differences(world.store)) == []


def test_a_late_report_about_an_older_send_is_no_failed_trial(world):
    """It was sent before the suppression."""
    early = world.send(stream="promo")
    for _ in range(2):
        world.bounce(world.send())
        world.wait("4d")
    world.wait("180d")
    assert world.send()
    world.bounce(early, like="full")
    assert world.why_not().cause == "trial"
    assert list(differences(world.store)) == []


def test_a_send_after_a_trial_that_arrived_is_no_trial(world):
    """It fails once: a first failure again, as far as the good send goes."""
    for send in iter(world.send, None):
        world.bounce(send, like="timeout")
        world.wait("7d")
    world.wait("31d")
    assert world.send()
    world.wait("9d")
    world.bounce(world.send(), like="timeout")
    assert world.counts(BOB)["*"]["network"] == 1 and world.suppressed() == {}
    assert list(differences(world.store)) == []


def test_a_send_that_is_not_recorded_uses_up_no_trial(world):
    """With `track = false` nobody would learn whether it arrived: the next recorded one tries."""
    for _ in range(2):
        world.bounce(world.send())
        world.wait("4d")
    world.wait("180d")
    new = NewSend("promo", "app@example.com", (BOB,))
    gone = world.write(lambda connection: world.outgoing.record(connection, new, {}, track=False, watch=True))
    assert gone.newly_suppressed == {}
    assert world.send() and world.why_not().cause == "trial"


def test_the_longest_of_several_suppressions_is_named(world):
    """A pause in bulk mail, a month everywhere, for good in the stream: the last one."""
    world.bounce(world.send())
    assert world.why_not().cause == "pause"
    world.suppress(BOB, "*", world.now + 30 * DAY)
    assert world.why_not().scope == "*"
    world.suppress(BOB, "news")
    assert world.why_not().scope == "news"
    new = NewSend("news", "app@example.com", (BOB,))
    gone = world.write(lambda connection: world.outgoing.record(connection, new, {}, track=True, watch=True))
    assert gone.newly_suppressed[BOB].scope == "news"


def test_a_span_is_reached_however_many_failures_come_within_it(tmp_path):
    """Sixty-four failures are kept, and the first of its class among them."""
    policy = {"soft_span": "100d", "network_span": "90d", "soft": 3, "spare_for": "0s"}
    with World(tmp_path, {"stream": [{"name": "invoices", "transactional": True}], "policy": policy}) as world:
        for day in range(101):
            assert world.suppressed() == {}, day
            world.bounce(world.send(stream="invoices"), like="full")
            world.wait("1d")
        assert world.suppressed() == {BOB: "*bulk soft"}
        assert world.counts(BOB)["*"]["soft"] > MAX_FAILURES_KEPT
        assert list(differences(world.store)) == []


def test_counting_by_stream_protects_transactional_streams_as_counting_everywhere_does(tmp_path):
    """A pause, a full mailbox and a dead network do not stop invoices; a second hard bounce does."""
    streams = [{"name": "news"}, {"name": "invoices", "transactional": True}]
    with World(tmp_path, {"stream": streams, "policy": {"scope": "stream"}}) as world:
        for _ in range(12):
            for like, to in (("full", "ann@example.net"), ("timeout", "eve@example.net")):
                world.bounce(world.send(to, "invoices"), to, like=like)
            world.wait("4d")
        assert world.suppressed() == {}
        assert until_suppressed(world) == 4
        assert world.suppressed() == {BOB: "invoices hard"}
        world.bounce(world.send("joe@example.net"), "joe@example.net")
        assert world.why_not("joe@example.net").scope == "news"
        assert list(differences(world.store)) == []


def test_who_left_one_list_is_not_taken_off_another_by_a_shared_token(tmp_path):
    """Any recipient of a message to several could have written that they unsubscribe."""
    with World(tmp_path, {"stream": [{"name": "news"}, {"name": "promo"}]}) as world:
        world.answer(world.send(stream="promo"), "unsubscribe")
        world.wait("1d")
        world.answer(world.send((BOB, "mallory@example.com")), "unsubscribe")
        assert (world.why_not(stream="promo") is None, world.why_not(stream="news")) == (False, None)
        assert list(differences(world.store)) == []
