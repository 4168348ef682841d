"""Events: what happens in the store leads to these events and to no others."""

from __future__ import annotations

import json

import pytest

from lab.courier import items
from lab.reports import failed
from lab.world import World
from retour_bounces import Report
from retour_policy.core.hook_events import Data, Event
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store import outbox_selection

STREAMS = [{"name": "news"}, {"name": "shop", "transactional": True}]


def hook(name, *on, **more):
    return {"name": name, "on": list(on), "command": ["/bin/true"]} | more


@pytest.fixture
def world(tmp_path):
    hooks = [hook("all", "all"), hook("news", "all", streams=["news"]), hook("storms", "storm")]
    with World(tmp_path, {"stream": STREAMS, "hook": hooks}) as world:
        yield world


def told(world, name="all"):
    """The events that a hook is to be told, since the last time it was asked."""
    waiting = items(world.store, channel=f"hook:{name}")
    world.writer.run(lambda connection: outbox_selection.drop(connection, [item.id for item in waiting]), 10_000)
    return [json.loads(item.body) for item in waiting]


def types(world, name="all"):
    return [event["type"] for event in told(world, name)]


def test_the_way_of_an_address_is_told_step_by_step(world):
    """Paused, suppressed, lifted: each with its dates and the rule; what is not news is not told."""
    world.bounce(world.send(), like="gone")
    assert types(world) == ["bounce.hard", "paused"]
    world.wait("4d")
    world.bounce(world.send(), like="gone")
    bounce, suppressed = told(world)
    assert (bounce["type"], suppressed["type"]) == ("bounce.hard", "suppressed")
    assert suppressed["data"]["scope"] == "*"
    assert suppressed["data"]["until"] > suppressed["data"]["since"]
    world.lift("bob@example.net")
    assert set(types(world)) == {"lifted"}


def test_a_second_report_of_the_same_failure_is_no_news(world):
    """Nor is the same report delivered twice."""
    send = world.send()
    world.bounce(send, like="full")
    world.bounce(send, like="greylisted")
    assert types(world) == ["bounce.soft"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("autoreply", ["autoreply"]),
        ("complaint", ["complaint", "suppressed"]),
        ("unsubscribe", ["unsubscribed", "suppressed"]),
        ("opt-out", ["unsubscribed", "suppressed"]),
        ("not-spam", []),
        ("delivered", []),
        ("mdn", []),
    ],
)
def test_what_is_told_of_other_reports(world, kind, expected):
    """Whatever only says that a message went well is nobody's business."""
    world.answer(world.send(), kind)
    assert types(world) == expected


def test_a_bounce_that_names_somebody_else_says_so(world):
    """Whom it names, and that the proof is weak; of a copy to somebody else nothing is told."""
    world.conflict(world.send(), "new@elsewhere.example")
    (event,) = told(world)
    assert (event["type"], event["data"]["proof"]) == ("bounce.hard", "conflicting")
    assert (event["data"]["address"], event["data"]["names"]) == ("bob@example.net", "new@elsewhere.example")
    world.conflict(world.send("ann@example.net"), "new@elsewhere.example", to="ann@example.net")
    assert told(world) == []


def test_a_hook_for_one_stream_hears_of_it_and_of_what_holds_everywhere(world):
    """Not of the other stream's bounces."""
    world.bounce(world.send(stream="shop"), like="full")
    assert types(world, "news") == []
    world.suppress("bob@example.net", scope="shop")
    assert types(world, "news") == []
    world.suppress("bob@example.net", scope="*")
    assert types(world, "news") == ["suppressed"]


def test_what_nobody_vouches_for_is_unmatched(world):
    """A forged bounce must not make an application unsubscribe anybody."""
    world.send()
    report = Report("bounce", (failed("bob@example.net"),))
    route = Route("static", "news")
    arrival = ReturnedMessage(world.now, route, "returns@b.example", "eve@example.org", b"x", b"x", report)
    world.writer.run(lambda connection: world.recorder.record(connection, arrival), 10_000)
    (event,) = told(world)
    assert event["type"] == "unmatched"
    assert event["data"] == {
        "stream": "news",
        "kind": "bounce",
        "delivered_to": "returns@b.example",
        "sender": "eve@example.org",
    }


def test_storms_are_told_when_they_open_and_close(world):
    """In their order, to those who ask; what the storm had done to addresses is taken back, and that is told too."""
    for n in range(25):
        to = f"user{n}@gmail.com"
        world.bounce(world.send(to), to, like="gone")
    world.tick()
    opened, *rest = told(world, "storms")
    assert (opened["type"], rest) == ("storm.opened", [])
    assert (opened["data"]["side"], opened["data"]["stream"]) == ("gmail.com", "news")
    assert "lifted" in types(world)
    for _ in range(40):
        world.wait("1h")
        world.tick()
    assert types(world, "storms") == ["storm.closed"]


def test_the_event_is_written_with_the_fact_or_not_at_all(world):
    """One transaction: where the fact is undone, so is the event."""

    def fails(connection):
        world.ledger.announcer.tell(connection, Event("paused", world.now, Data()))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        world.writer.run(fails, 10_000)
    assert told(world) == []
