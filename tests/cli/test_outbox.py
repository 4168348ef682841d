"""outbox and stats: what waits outside, as a postmaster sees and changes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retour_policy.clock import HOUR, MINUTE, system_clock
from retour_policy.outbox import manage, queue
from retour_policy.outbox.queue import Failure
from retour_policy.store import outbox, outbox_selection
from retour_policy.store.outbox import NewItem

HOOKS = """
[[hook]]
name = "shop"
on = ["all"]
command = ["/bin/true"]
"""


@pytest.fixture
def full(office):
    """Three items of a hook, of which one is dead and one has failed once, and a resend for later."""
    now = system_clock() - 3 * HOUR

    def work(connection):
        new = [NewItem(now, "event", "hook:shop", kind, b'{"type": "%s"}' % kind.encode()) for kind in ("a", "b", "c")]
        first, second, _ = [queue.put(connection, one) for one in new]
        queue.put(connection, NewItem(now, "resend", "relay:default", "news", b"{}", due=now + 4 * HOUR))
        for item in outbox.take(connection, [first, second], "me", now, now + MINUTE):
            queue.fail(connection, [Failure(item, "500 no\33", item.id == first, 4 * HOUR)], "me", now)

    office.write(work)
    return office


def test_it_lists_what_waits_and_what_was_given_up(full):
    """One line each at 80 columns, without what a terminal acts on."""
    said = full("outbox", "list", columns=80).stdout
    full.fits(said)
    assert "dead after 1: 500 no" in full("outbox", "list").stdout
    assert [one["target"] for one in full.json("outbox", "list")] == ["a", "b", "c", "news"]
    (dead,) = full.json("outbox", "list", "--failed")
    assert (dead["target"], dead["failed"], dead["attempts"]) == ("a", True, 1)
    assert [one["target"] for one in full.json("outbox", "list", "--waiting", "--channel", "hook:shop")] == ["b", "c"]
    assert [one["target"] for one in full.json("outbox", "list", "--kind", "resend")] == ["news"]
    assert full.json("outbox", "list", "--before", "4h") == []
    assert json.loads(full.json("outbox", "list", "--failed", "--show")[0]["body"]) == {"type": "a"}
    assert '1: {"type": "a"}' in full("outbox", "list", "--show").stdout


def test_a_long_list_ends_with_how_much_more_there_is(full):
    """A million lines help nobody; --json gives all of them."""
    said = full("outbox", "list", "--limit", "3").stdout.splitlines()
    assert (len(said), said[-1]) == (5, "and 1 more (--limit)")
    assert len(full.json("outbox", "list")) == 4
    assert len(full.json("outbox", "list", "--limit", "3")) == 3


def test_large_bodies_are_read_where_they_are_shown_and_changed_a_few_at_a_time(full, monkeypatch):
    """Nine forwards of a megabyte: a list is made without them, and nothing has more than a few of them in memory."""

    def work(connection):
        for _ in range(9):
            queue.put(connection, NewItem(1, "forward", queue.FORWARD, "postmaster@example.com", b"x" * 1_000_000))

    full.write(work)
    read, drop, octets, dropped = outbox_selection.read, outbox_selection.drop, [], []

    def reading(connection, ids, **how):
        found = read(connection, ids, **how)
        octets.append(sum(len(one.body) for one in found))
        return found

    monkeypatch.setattr(outbox_selection, "read", reading)
    monkeypatch.setattr(
        outbox_selection, "drop", lambda connection, ids: dropped.append(len(ids)) or drop(connection, ids)
    )
    assert len(full.json("outbox", "list")) == 13
    assert full("outbox", "list", "--kind", "forward").stdout.count("forward") == 9
    assert octets == [0, 0]
    full("outbox", "list", "--show")
    assert max(octets) <= manage.MAX_BATCH_OCTETS and sum(octets) >= 9_000_000
    full("outbox", "drop", "--all")
    assert sum(dropped) == 13 and max(dropped) <= 4 + manage.MAX_BATCH_OCTETS // 1_000_000


def test_an_empty_outbox_says_so(office):
    """And has exit status 0."""
    assert office("outbox", "list").stdout == "nothing waits\n"
    assert office("stats").stdout == "the outbox is empty\n"


def test_a_dead_letter_can_be_tried_again(full):
    """It is due at once, and counted from the beginning."""
    assert full("outbox", "retry", "1").stdout == "1 retried\n"
    (one,) = [one for one in full.json("outbox", "list") if one["id"] == 1]
    assert (one["failed"], one["attempts"]) == (False, 0)
    assert full.json("outbox", "retry", "--all", "--channel", "hook:shop") == [{"retried": 3}]


def test_what_is_not_wanted_any_more_can_be_dropped(full):
    """By number, or all that options mean."""
    assert full("outbox", "drop", "--all", "--failed").stdout == "1 dropped\n"
    assert [one["target"] for one in full.json("outbox", "list")] == ["b", "c", "news"]
    full("outbox", "drop", "99", status=1)
    assert full.json("outbox", "drop", "2", "3", "4") == [{"dropped": 3}]
    assert full.json("outbox", "list") == []


@pytest.mark.parametrize("words", [["retry"], ["drop"], ["drop", "1", "--all"], ["drop", "--failed"]])
def test_nothing_is_changed_by_mistake(full, words):
    """Either numbers or --all, never neither."""
    full("outbox", *words, status=2)
    assert len(full.json("outbox", "list")) == 4


def test_stats_tell_counts_and_ages_by_channel(full):
    """What is not due yet does not count as waiting."""
    (found,) = full.json("stats")
    relay, hook = sorted(found["outbox"], key=lambda one: one["channel"], reverse=True)
    assert (hook["channel"], hook["waiting"], hook["failing"], hook["dead"]) == ("hook:shop", 2, 1, 1)
    assert 3 * HOUR <= hook["oldest_seconds"] * 1000 < 3 * HOUR + MINUTE
    assert (relay["channel"], relay["waiting"], relay["oldest_seconds"]) == ("relay:default", 0, None)
    assert "hook:shop" in full("stats", columns=80).stdout


def test_the_operators_own_acts_are_events_but_not_what_is_imported(office, tmp_path: Path):
    """The owner of an imported list knows it; one address added by hand may be news."""
    office.config.write_text(office.config.read_text() + HOOKS)
    office("suppressions", "add", "anna@example.net", "--note", "asked by phone")
    office("suppressions", "remove", "anna@example.net")
    (tmp_path / "list.csv").write_text("address\nben@example.net\n")
    office("suppressions", "import", tmp_path / "list.csv")
    found = office.json("outbox", "list", "--show")
    assert [(one["channel"], one["target"]) for one in found] == [("hook:shop", "suppressed"), ("hook:shop", "lifted")]
    data = json.loads(found[0]["body"])["data"]
    assert (data["address"], data["cause"], data["note"]) == ("anna@example.net", "operator", "asked by phone")


def test_check_tells_what_hooks_and_resends_do(office):
    """In plain words."""
    retry = 'name = "news"\nretry = { interval = "4h", count = 3 }\n'
    office.edit('name = "news"\n', retry)
    office.config.write_text(office.config.read_text() + HOOKS)
    said = office("check").stdout
    assert "soft bounces up to 3 times, 4 hours apart, of messages up to 256k" in said
    assert "hook shop" in said and "runs /bin/true" in said
