"""The careful policy, as a postmaster would tell it: one story each, dates and all."""

import pytest

from lab.world import World
from retour_policy.clock import DAY, day_text
from retour_policy.maintenance.rebuild import differences

STREAMS = [{"name": "news"}, {"name": "promo"}, {"name": "invoices", "transactional": True}]


@pytest.fixture
def world(tmp_path):
    """With nothing but the defaults."""
    with World(tmp_path, {"stream": STREAMS}) as world:
        yield world


def test_a_mailbox_that_is_gone(world):
    """Bob's mailbox is deleted. Monday's newsletter bounces: a pause of three days. The next one, after the
    pause, bounces too: no mail for 30 days, not even invoices. Then one send may try; it bounces, and each time it
    lasts twice as long. When four have tried, in fifteen months, it is for good.
    """
    world.until("2026-03-02T08:00")
    world.bounce(world.send())
    assert (
        world.why_not().words() == "paused after a hard bounce (5.1.1 userunknown), since 2026-03-02, until 2026-03-05"
    )
    assert world.why_not(stream="promo")
    assert world.why_not(stream="invoices") is None
    world.until("2026-03-09T08:00")
    assert world.why_not() is None
    world.bounce(world.send())
    assert world.why_not().words() == "hard bounces (5.1.1 userunknown), since 2026-03-09, until 2026-04-08"
    assert world.why_not(stream="invoices")
    lasted = []
    while world.why_not().until:
        world.now = world.why_not().until
        trial = world.send()
        assert trial
        assert world.send(stream="promo") is None
        world.wait("1h")
        world.bounce(trial)
        found = world.why_not()
        lasted.append(found.until and (found.until - found.since) // DAY)
    assert lasted == [60, 120, 240, None]
    assert day_text(world.now) == "2027-06-02"
    assert list(differences(world.store)) == []


def test_a_mailbox_that_is_back(world):
    """The first trial arrives: a week later all mail goes out again, and a bounce is the first one again."""
    for _ in range(2):
        world.bounce(world.send())
        world.wait("4d")
    world.now = world.why_not().until
    assert world.send()
    world.wait("8d")
    world.bounce(world.send())
    assert world.why_not().cause == "pause"


def test_a_full_mailbox_gets_no_invoices_in_the_end(world):
    """An invoice every day to a mailbox that is full for good: bulk mail stops on day 11, as ever; when nothing has
    arrived for 90 days, invoices do too, and then one a month tries.
    """
    for day in range(90):
        world.bounce(world.send(stream="invoices"), like="full")
        assert (world.why_not() is not None) == (day >= 10) and world.why_not(stream="invoices") is None
        world.wait("1d")
    assert (world.why_not().until - world.why_not().since) // DAY == 60  # the second: it grew once, not each day
    world.bounce(world.send(stream="invoices"), like="full")
    assert world.why_not(stream="invoices").cause == "soft"
    assert list(differences(world.store)) == []


def test_an_outage_of_two_days(world):
    """A provider says 5.1.1 for accounts that exist, on Monday and on Tuesday. Both sends were made before
    the pause was over, so they are one failure; after it mail arrives, and the first good send clears the count.
    """
    world.until("2020-12-14T10:00")
    monday, promo = world.send(), world.send(stream="promo")
    world.bounce(monday)
    world.until("2020-12-15T10:00")
    world.bounce(promo)
    invoice = world.send(stream="invoices")
    world.bounce(invoice)
    assert world.why_not().cause == "pause"
    world.until("2020-12-18T10:00")
    assert world.send()
    world.wait("8d")
    world.bounce(world.send())
    assert world.why_not().cause == "pause"  # the first one again, not the second


def test_a_full_mailbox_on_holiday(world):
    """Ann is away for a week and her mailbox is full each day: five distinct days, but not over ten."""
    for _ in range(7):
        world.bounce(world.send("ann@example.net"), "ann@example.net", like="full")
        world.wait("1d")
    assert world.suppressed() == {}


def test_a_mailbox_full_for_good(world):
    """A weekly newsletter meets a full mailbox five times, in four weeks: suppressed for 30 days. Then one
    try; still full: 60 days.
    """
    for _ in range(5):
        assert world.why_not() is None
        world.bounce(world.send(), like="full")
        world.wait("7d")
    assert world.why_not().cause == "soft"
    assert world.why_not(stream="invoices") is None
    world.wait("23d")
    trial = world.send()
    assert trial
    assert world.send() is None
    world.bounce(trial, like="full")
    since, until = world.why_not().since, world.why_not().until
    assert (until - since) // 86_400_000 == 60


def test_two_bounces_a_day_count_as_one(world):
    """A daily stream and a second one: at most one per address, class and day."""
    for _ in range(4):
        for stream in ("news", "promo"):
            world.bounce(world.send(stream=stream), like="full")
        world.wait("4d")
    assert world.suppressed() == {}
    world.bounce(world.send(), like="full")
    assert world.suppressed() == {"bob@example.net": "*bulk soft"}


def test_a_blocklist_costs_nobody_the_subscription(world):
    """Our address is on a blocklist for a month; every bounce blames the sender."""
    for _ in range(30):
        world.bounce(world.send(), like="blocked")
        world.bounce(world.send(stream="promo"), like="large")
        world.bounce(world.send(stream="promo"), like="vague")
        world.wait("1d")
    assert world.suppressed() == {}


def test_a_dead_domain(world):
    """Its servers do not answer any more: five days over at least thirty, with no good send between."""
    for week in range(6):
        assert world.suppressed() == {}, week
        world.bounce(world.send(), like="timeout")
        world.wait("7d")
    assert world.suppressed() == {"bob@example.net": "*bulk network"}


def test_a_shaky_domain(world):
    """The same, but one newsletter of five arrives: the network works."""
    for week in range(20):
        send = world.send()
        if week % 5 != 4:
            world.bounce(send, like="timeout")
        world.wait("7d")
    assert world.suppressed() == {}


def test_a_quarterly_newsletter_finds_its_dead_too(world):
    """Time alone does not heal: three months between two failures are nothing, four hundred days are."""
    world.bounce(world.send())
    world.wait("90d")
    world.bounce(world.send())
    assert world.why_not().cause == "hard"
    world.bounce(world.send("ann@example.net"), "ann@example.net")
    world.wait("401d")
    world.bounce(world.send("ann@example.net"), "ann@example.net")
    assert world.why_not("ann@example.net").cause == "pause"


def test_a_click_on_spam(world):
    """Ann complains about the newsletter: no bulk mail any more, but her password reset arrives."""
    world.answer(world.send("ann@example.net"), "complaint", "ann@example.net")
    assert world.why_not("ann@example.net", "news").cause == "complaint"
    assert world.why_not("ann@example.net", "promo")
    assert world.why_not("ann@example.net", "invoices") is None
    world.answer(world.send("ann@example.net", "invoices"), "complaint", "ann@example.net")
    assert world.why_not("ann@example.net", "invoices")


def test_an_unsubscription(world):
    """Only the stream it was about, and for good."""
    world.answer(world.send(), "unsubscribe")
    assert world.why_not().until is None
    assert world.why_not(stream="promo") is None
    world.answer(world.send(stream="promo"), "unsubscribe")
    assert world.why_not(stream="promo").cause == "unsubscribe"


def test_auto_replies_never_count_unless_asked_to(world):
    """A hundred days of holiday."""
    for _ in range(100):
        world.answer(world.send(), "autoreply")
        world.wait("1d")
    assert world.suppressed() == {}


def test_a_stream_can_have_numbers_of_its_own(world):
    """`policy = { hard = 1 }` in a stream: its first hard bounce suppresses, the others' pauses."""
    world.adopt({"stream": [{"name": "news", "policy": {"hard": 1}}, {"name": "promo"}]})
    world.bounce(world.send("ann@example.net"), "ann@example.net")
    world.bounce(world.send("bob@example.net", "promo"))
    assert world.suppressed() == {"ann@example.net": "* hard", "bob@example.net": "*bulk pause"}


def test_a_threshold_of_zero_only_records(world):
    """`hard = 0`: nobody is ever suppressed for hard bounces, nor paused."""
    world.adopt({"stream": [{"name": "news"}], "policy": {"hard": 0}})
    for _ in range(5):
        world.bounce(world.send())
        world.wait("5d")
    assert world.suppressed() == {}


def test_plain_counting(plain):
    """As the two seed documents have it: every failure counts, no matter who is to blame or on which day."""
    for like in ("gone", "blocked"):
        plain.bounce(plain.send(), like=like)
    assert plain.suppressed() == {}
    plain.bounce(plain.send(), like="large")
    assert plain.suppressed() == {"bob@example.net": "* hard"}
    for _ in range(5):
        assert plain.why_not("ann@example.net") is None
        plain.bounce(plain.send("ann@example.net"), "ann@example.net", like="full")
    assert plain.why_not("ann@example.net").cause == "soft"
    for _ in range(10):
        assert plain.why_not("eve@example.net") is None
        plain.answer(plain.send("eve@example.net"), "autoreply", "eve@example.net")
    assert plain.why_not("eve@example.net", "invoices").cause == "autoreply"
