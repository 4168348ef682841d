"""Webhooks, to real web servers on loopback: what arrives, when it is tried again, and what is refused."""

from __future__ import annotations

import http.server
import ipaddress
import json
import ssl
import subprocess
import threading

import pytest

from lab.courier import running_courier
from lab.receiver import HUGE, LOGIN
from lab.wait import wait_until
from lab.world import World
from retour_courier.webhook import is_public
from retour_policy.clock import HOUR
from retour_policy.core.hook_events import Data, Event
from retour_policy.outbox import queue
from retour_policy.store.outbox import NewItem


def hook(url, **more):
    values = {"name": "app", "on": ["all"], "webhook": url, "secret_file": "/unused", "allow_http": True}
    return values | {"allow_private": ["127.0.0.1", "localhost"], "timeout": "5s"} | more


def config(*hooks, **more):
    return {"stream": [{"name": "news"}], "hook": list(hooks)} | more


@pytest.fixture
def begin(tmp_path):
    worlds = []

    def begin(*hooks, **more):
        worlds.append(World(tmp_path, config(*hooks, **more)).__enter__())
        return worlds[0]

    yield begin
    for world in worlds:
        world.__exit__()


def put(world, count=1, *, channel="hook:app", ordering=None):
    """Queue events that nobody but the outbox knows."""
    new = [NewItem(world.now, "event", channel, "paused", b'{"n": %d}' % n, ordering=ordering) for n in range(count)]
    world.writer.run(lambda connection: [queue.put(connection, one) for one in new], 10_000)


def test_an_event_arrives_signed_with_the_tag_of_the_application(begin, receiver, tmp_path):
    """Standard Webhooks: id, time and a signature that its library verifies; the JSON says what and about whom."""
    world = begin(hook(receiver.url()))
    send = world.send(tag="order-4711")
    world.bounce(send)
    with running_courier(tmp_path, world) as courier:
        first, second = receiver.wait(2)
        courier.wait_empty()
    assert (first.event["type"], second.event["type"]) == ("bounce.hard", "paused")
    assert first.event["id"] == first.id == first.headers["webhook-id"]
    assert first.event["version"] == 2
    assert first.event["timestamp"] == "2026-01-01T12:00:00.000Z"
    data = first.event["data"]
    assert (data["address"], data["stream"], data["tag"]) == ("bob@example.net", "news", "order-4711")
    assert (data["status"], data["reason"], data["blame"], data["proof"]) == (
        "5.1.1",
        "userunknown",
        "recipient",
        "signed",
    )
    assert data["send"] == str(send)
    assert first.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/broken", "500 a fault"),
        ("/redirect", "308: redirects are not followed"),
        ("/hanging", "no answer in time"),
        ("/garbage", "not a valid HTTP answer"),
    ],
)
def test_what_is_not_taken_is_tried_again_later(begin, receiver, tmp_path, path, words):
    """The error is kept, and the next try comes after a pause, not before."""
    world = begin(hook(receiver.url(path), timeout="1s"))
    put(world)
    with running_courier(tmp_path, world) as courier:
        (item,) = courier.wait_tried()
        assert item.error.startswith(words)
        assert not item.failed
        assert 8_000 <= item.due - world.now <= 12_000
        world.wait("1m")
        (again,) = courier.wait_tried(2)
    assert again.uid == item.uid
    assert receiver.tried[path] == 2
    assert not receiver.called


def test_a_receiver_may_ask_for_patience(begin, receiver, tmp_path):
    """Retry-After is heeded."""
    world = begin(hook(receiver.url("/busy")))
    put(world)
    with running_courier(tmp_path, world) as courier:
        (item,) = courier.wait_tried()
    assert item.due - world.now == HOUR


def test_gone_is_a_dead_letter_at_once(begin, receiver, tmp_path):
    """410 says that nobody wants it any more."""
    world = begin(hook(receiver.url("/gone")))
    put(world)
    with running_courier(tmp_path, world) as courier:
        (item,) = courier.wait_tried(failed=True)
    assert item.error == "410"


def test_a_huge_answer_is_not_read(begin, receiver, tmp_path):
    """2xx is enough; of 5 MB no more is taken than fits into buffers."""
    world = begin(hook(receiver.url("/huge")))
    put(world)
    with running_courier(tmp_path, world) as courier:
        courier.wait_empty()
    assert receiver.sent < HUGE * 0.9


def test_a_status_holds_though_the_rest_of_the_answer_never_comes(begin, receiver, tmp_path):
    """It said 200: the event is not told again."""
    world = begin(hook(receiver.url("/dripping"), timeout="1s"))
    put(world)
    with running_courier(tmp_path, world) as courier:
        courier.wait_empty()
    assert receiver.tried["/dripping"] == 1


def test_an_error_does_not_tell_the_address(begin, receiver, tmp_path):
    """What stands behind the question mark may be a secret, and errors go into logs and lists."""
    world = begin(hook(receiver.url("/garbage") + "?key=5ecret"))
    put(world)
    with running_courier(tmp_path, world) as courier:
        (item,) = courier.wait_tried()
    assert item.error.startswith("not a valid HTTP answer: ")
    assert "5ecret" not in item.error


def test_it_ends_as_a_dead_letter_after_72_hours(begin, receiver, tmp_path):
    """Until then it is tried, after that it is kept to be seen."""
    world = begin(hook(receiver.url("/broken")))
    put(world)
    tries = 0
    with running_courier(tmp_path, world) as courier:
        while not courier.waiting(failed=True):
            tries += 1
            (item,) = courier.wait_tried(tries)
            world.now = max(world.now, item.due)
    assert 65 * HOUR < world.now - item.at <= 72 * HOUR + 8 * HOUR
    assert 15 < tries < 25


def test_events_of_one_address_arrive_in_their_order(begin, receiver, tmp_path):
    """One that is not taken holds up those behind it, and nobody else's."""
    world = begin(hook(receiver.url()))
    receiver.status = 500
    put(world, 3, ordering=7)
    with running_courier(tmp_path, world) as courier:
        wait_until(lambda: courier.waiting()[0].attempts, what="a try")
        receiver.status = 200
        put(world, 1, ordering=8)
        wait_until(lambda: len(courier.waiting()) == 3, what="the other address's event to be told")
        assert [item.attempts for item in courier.waiting()] == [1, 0, 0]
        world.wait("1m")
        courier.wait_empty()
    assert [called.event["n"] for called in receiver.called] == [0, 0, 1, 2]


def test_a_dead_receiver_delays_no_other(begin, receiver, tmp_path):
    """Of two hooks one hangs; the other gets all of its events meanwhile."""
    hanging = hook(receiver.url("/hanging"), name="hanging", timeout="5m", connections=2)
    world = begin(hanging, hook(receiver.url()))
    put(world, 40, channel="hook:hanging")
    put(world, 40)
    with running_courier(tmp_path, world) as courier:
        receiver.wait(40)
        assert len(courier.waiting(channel="hook:hanging")) == 40
        receiver.release()


def test_a_receiver_that_fails_throughout_is_left_alone_for_a_while(begin, receiver, tmp_path):
    """Not every waiting item is tried on it, one after the other; when it is back, one is tried, and then all."""
    world = begin(hook(receiver.url(), connections=2), courier={"first_pause": "1s"})
    receiver.status = 500
    put(world, 30)
    with running_courier(tmp_path, world) as courier:
        wait_until(lambda: sum(item.attempts for item in courier.waiting()) >= 2, what="two tries")
        tried = receiver.tried["/ok"]
        assert tried < 5
        receiver.status = 200
        world.wait("1m")
        courier.wait_empty()


def test_a_clock_that_jumps_does_not_make_a_courier_begin_again(begin, receiver, tmp_path):
    """Its own lease has run out by the clock, but it knows its items."""
    world = begin(hook(receiver.url()))
    receiver.slow = 1.0
    put(world)
    with running_courier(tmp_path, world) as courier:
        wait_until(lambda: receiver.open, what="the call")
        world.wait("2h")
        courier.wait_empty()
    assert (receiver.tried["/ok"], receiver.at_once) == (1, 1)


def test_a_refusal_for_good_shows_that_the_receiver_is_there(begin, receiver, tmp_path):
    """Two failures with a 410 between them are not one after the other: the next event does not wait."""
    world = begin(hook(receiver.url(), connections=2))
    with running_courier(tmp_path, world) as courier:
        for number, status in enumerate((500, 410, 500), 1):
            receiver.status = status
            put(world)
            wait_until(lambda number=number: sum(one.attempts for one in courier.waiting()) == number, what="a try")
        receiver.status = 200
        put(world)
        receiver.wait(1)


def test_a_receiver_that_asks_for_patience_is_left_alone_so_long(begin, receiver, tmp_path):
    """Not only by the item that was answered so: with an hour of Retry-After it rests the longest that it can."""
    world = begin(hook(receiver.url("/busy"), connections=1), hook(receiver.url(), name="other"))
    put(world, 2)
    with running_courier(tmp_path, world) as courier:
        wait_until(lambda: _tried(courier) == 1, what="a try")
        world.wait("4m")
        for count in range(1, 6):  # some looks at both
            put(world, channel="hook:other")
            receiver.wait(count)
        assert receiver.tried["/busy"] == 1
        world.wait("2m")
        wait_until(lambda: _tried(courier) == 2, what="another, after five minutes")


def _tried(courier):
    return sum(item.attempts for item in courier.waiting() if not item.taken_by)


def test_what_waits_for_a_receiver_that_never_comes_back_ends_after_72_hours_too(begin, receiver, tmp_path):
    """It was never tried, because one was tried for all; that is no reason to keep it without limit."""
    world = begin(hook(receiver.url(), connections=2))
    receiver.status = 500
    put(world, 30)
    with running_courier(tmp_path, world) as courier:
        wait_until(lambda: _rests(courier), what="a rest")
        world.wait("73h")
        wait_until(lambda: len(courier.waiting(failed=True)) == 30, what="30 dead letters")
        untried = [item for item in courier.waiting() if not item.attempts]
    assert len(untried) >= 24
    assert {item.error for item in untried} == {"its receiver failed throughout; last: 500 status 500"}


def test_after_days_without_a_courier_everything_is_tried(begin, receiver, tmp_path):
    """A receiver that is away in the moment in which the courier comes back costs nothing that was not tried."""
    world = begin(hook(receiver.url(), connections=2))
    receiver.status = 500
    put(world, 30)
    world.wait("100h")
    with running_courier(tmp_path, world) as courier:
        wait_until(lambda: _rests(courier), what="a rest")
        receiver.status = 200
        world.wait("10m")
        wait_until(lambda: not courier.waiting(failed=False), what="the end of waiting")
    assert 24 <= len(receiver.called) == 30 - len(courier.waiting())


def _rests(courier):
    """Whether at least two attempts failed, and nothing is in progress."""
    items = courier.waiting()
    return sum(item.attempts for item in items) >= 2 and not any(item.taken_by for item in items)


def test_what_cannot_be_encoded_is_a_dead_letter_and_the_rest_goes_on(begin, receiver, tmp_path):
    """The event is kept with the reason; those before and behind it in the same transaction are told."""
    world = begin(hook(receiver.url()))
    notes = ["before", "\udc80", {"a", "set"}, float("nan"), "behind"]
    events = [Event("paused", world.now, Data(note=note), 7) for note in notes]
    world.writer.run(lambda c: [world.ledger.announcer.tell(c, event) for event in events], 10_000)
    with running_courier(tmp_path, world) as courier:
        receiver.wait(2)
        dead = courier.waiting(failed=True)
    assert [called.event["data"]["note"] for called in receiver.called] == ["before", "behind"]
    assert [item.error.split(":")[:2] for item in dead] == [
        ["cannot be encoded", f" {name}"] for name in ("UnicodeEncodeError", "TypeError", "ValueError")
    ]


def test_private_addresses_are_refused_unless_allowed_by_name(begin, receiver, tmp_path):
    """Looked at is the address that is really connected to: a name or a way to write it makes no difference."""
    hosts = {
        "number": "127.0.0.1",
        "name": "localhost",
        "decimal": "2130706433",
        "octal": "0177.0.0.1",
        "short": "127.1",
    }
    hosts |= {"unspecified": "0.0.0.0", "mapped": "[::ffff:127.0.0.1]"}
    world = begin(
        *(hook(receiver.url(host=host), name=name, allow_private=["elsewhere"]) for name, host in hosts.items()),
        hook(receiver.url(host="localhost"), name="allowed", allow_private=["LocalHost"]),
    )
    for name in (*hosts, "allowed"):
        put(world, channel=f"hook:{name}")
    with running_courier(tmp_path, world) as courier:
        receiver.wait(1)
        refused = courier.wait_tried()
    assert [item.channel for item in refused] == [f"hook:{name}" for name in hosts]
    words = ("is not a public address; allow_private can allow it", "is not a canonical IPv4 address")
    assert all(item.error.endswith(words) for item in refused)
    assert receiver.tried["/ok"] == 1


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("192.0.2.1", False),
        ("10.1.2.3", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("93.184.216.34", True),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("::7f00:1", False),
        ("::ffff:0:7f00:1", False),
        ("64:ff9b:1::7f00:1", False),
        ("fec0::1", False),
        ("3fff::1", False),
        ("192.0.0.8", False),
        ("2606:2800:220:1::", True),
    ],
)
def test_which_addresses_are_public(address, public):
    """IPv4 addresses within IPv6 ones are looked at too."""
    assert is_public(ipaddress.ip_address(address)) is public


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        raise AssertionError("called without a certificate that can be trusted")


@pytest.fixture
def https(tmp_path):
    """A server whose certificate nobody has signed."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run(["openssl", *words, "-keyout", key, "-out", cert], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = http.server.HTTPServer(("127.0.0.1", 0), Refusing)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_certificates_are_verified(begin, https, tmp_path):
    """A self-signed one is an error, and nothing is sent."""
    world = begin(hook(https))
    put(world)
    with running_courier(tmp_path, world) as courier:
        (item,) = courier.wait_tried()
    assert "CERTIFICATE_VERIFY_FAILED" in item.error


def test_a_hook_that_is_gone_leaves_dead_letters(begin, tmp_path):
    """What waits for a hook that is not in the configuration any more does not stay there unnoticed."""
    world = begin()
    put(world)
    world.wait("2h")
    with running_courier(tmp_path, world) as courier:
        wait_until(lambda: courier.waiting(failed=True), what="a dead letter")
        (item,) = courier.waiting()
    assert item.error == "no such hook or relay in the configuration"


def test_an_application_that_takes_another_services_webhooks_needs_no_code(begin, receiver, tmp_path):
    """Its own JSON, and a password instead of a signature."""
    login = {"secret_file": None, "user": LOGIN[0], "password_file": "/unused"}
    world = begin(hook(receiver.url("/login"), format="listmonk", on=["bounce"], **login))
    world.bounce(world.send(tag="9F86B50D-5711-41C8-AB03-BC91C43D711B"))
    with running_courier(tmp_path, world) as courier:
        (called,) = receiver.wait(1)
        courier.wait_empty()
    meta = json.loads(called.event.pop("meta"))
    assert called.event == {
        "email": "bob@example.net",
        "campaign_uuid": "9f86b50d-5711-41c8-ab03-bc91c43d711b",
        "source": "retour",
        "type": "hard",
    }
    assert (meta["status"], meta["reason"]) == ("5.1.1", "userunknown")
