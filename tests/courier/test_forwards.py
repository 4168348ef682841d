"""Forwards to postmaster, through a real mail server on loopback: one by one, as a digest, and never in circles."""

from __future__ import annotations

import email.policy
from dataclasses import replace

import pytest

from lab.courier import router, running_courier
from lab.destination import Destination
from lab.wait import wait_until
from lab.world import World
from retour_bounces import Report
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.outbox import queue
from retour_policy.outbox.queue import FORWARD
from retour_policy.store.outbox import NewItem

ORIGINAL = b"From: ann@example.org\r\nSubject: No %d\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"


@pytest.fixture
def server():
    with Destination() as server:
        yield server


@pytest.fixture
def world(tmp_path, server):
    relay = {"default": {"port": server.port}}
    config = {"relay": relay, "forward": {"most": 3, "per": "1h"}, "stream": [{"name": "news"}]}
    with World(tmp_path, config) as world:
        yield world


def put(world, *numbers):
    new = [
        NewItem(world.now, "forward", FORWARD, "postmaster@example.com", ORIGINAL.replace(b"%d", b"%d" % n))
        for n in numbers
    ]
    world.writer.run(lambda connection: [queue.put(connection, one) for one in new], 10_000)


def attached(message):
    """The subjects of the messages attached to a message."""
    parsed = email.message_from_bytes(message.content, policy=email.policy.default)
    return [part.get_content()["Subject"] for part in parsed.walk() if part.get_content_type() == "message/rfc822"]


def test_the_original_goes_to_postmaster_and_to_nobody_else(world, server, tmp_path):
    """As message/rfc822, octet by octet, from the null sender, marked as made by a machine and as ours."""
    put(world, 1)
    with running_courier(tmp_path, world) as courier:
        courier.wait_empty()
    (message,) = server.arrived
    assert (message.sender, message.recipients) == ("", ("postmaster@example.com",))
    assert message.headers("Auto-Submitted") == ["auto-generated"]
    assert ORIGINAL.replace(b"%d", b"1") in message.content
    assert attached(message) == ["No 1"]
    assert router(tmp_path, world).is_forward(message.content)


def test_what_is_too_much_for_an_hour_becomes_one_digest(world, server, tmp_path):
    """Three an hour here: of ten the first three go at once, seven wait and come together when the hour is over."""
    with running_courier(tmp_path, world) as courier:
        for numbers in (range(3), range(3, 6), range(6, 10)):
            put(world, *numbers)
            wait_until(lambda: len(server.arrived) == 3, what="the first three")
        wait_until(lambda: len(courier.waiting()) == 7, what="the notes about them")
        assert not any(item.taken_by for item in courier.waiting())
        world.wait("1h")
        courier.wait_empty()
    found = [attached(message) for message in server.arrived]
    assert sorted(found[:3]) == [["No 0"], ["No 1"], ["No 2"]]
    assert found[3:] == [[f"No {n}" for n in range(3, 10)]]
    assert server.arrived[3].headers("Subject") == ["Returned mail that could not be matched: 7 messages"]


def test_within_the_limit_they_go_one_by_one(world, server, tmp_path):
    """Three in each of two hours are six messages."""
    with running_courier(tmp_path, world) as courier:
        for hour in range(2):
            put(world, *range(hour * 3, hour * 3 + 3))
            courier.wait_empty()
            world.wait("1h")
    assert sorted(attached(message) for message in server.arrived) == [[f"No {n}"] for n in range(6)]


def test_a_digest_has_room_for_so_much_and_there_can_be_several(world, server, tmp_path):
    """250 messages at the beginning of an hour: digests of at most 100."""
    put(world, *range(250))
    with running_courier(tmp_path, world) as courier:
        courier.wait_empty()
    sizes = [len(attached(message)) for message in server.arrived]
    assert sorted(sizes) == [50, 100, 100]


def test_a_relay_that_is_down_loses_nothing(world, tmp_path):
    """It is tried again after growing pauses; what waits goes when it is back."""
    put(world, 1, 2)
    with running_courier(tmp_path, world) as courier:
        server = Destination()
        world.adopt({"relay": {"default": {"port": server.port}}, "forward": {"most": 60, "per": "1h"}})
    with running_courier(tmp_path, world) as courier:
        items = courier.wait_tried()
        assert all("127.0.0.1" in item.error and not item.failed for item in items)
        with server:
            world.wait("10m")  # now, while nothing is on its way: a lease would run out in a leap of time
            courier.wait_empty()
            assert len(server.arrived) == 2


def test_a_forward_that_comes_back_goes_round_no_more(world, server, tmp_path):
    """It stays as a dead letter that says why; one with somebody else's guard is mail like any other."""
    put(world, 1)
    with running_courier(tmp_path, world) as courier:
        courier.wait_empty()
        came_back = server.arrived[0].content
        forged = came_back.replace(b"Retour-Forwarded: ", b"Retour-Forwarded: a")
        for raw in (came_back, forged):
            _arrives(world, router(tmp_path, world), raw)
        server.wait(2)
        wait_until(lambda: len(courier.waiting()) == 1, what="the dead letter alone")
        (item,) = courier.waiting()
    assert item.failed
    assert item.error == "came back to us: does lmtpd.postmaster lead into a bounce domain?"


def _arrives(world, router, raw):
    recorder = replace(world.recorder, postmaster="postmaster@example.com", looped=router.is_forward)
    route, to = Route("role"), "postmaster@bounces.example.com"
    arrival = ReturnedMessage(world.now, route, to, "", raw, raw, Report("not-a-report", ()))
    assert world.writer.run(lambda connection: recorder.record(connection, arrival), 10_000) == "forwarded"
