"""Leases: an item is leased to one courier at a time, however long it takes, and finished or released at shutdown."""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lab.courier import ring, running_courier
from lab.destination import Destination
from lab.killed_courier import KilledCouriers
from lab.wait import wait_until
from lab.world import World
from retour_courier import outcomes
from retour_policy.clock import DAY, system_clock
from retour_policy.errors import StoreUnavailable
from retour_policy.outbox import queue
from retour_policy.outbox.resends import Resends
from retour_policy.outbox.spool import Spool, new_name
from retour_policy.store import outbox
from retour_policy.store.facts import FactFilter, read
from retour_policy.store.outbox import NewItem
from retour_policy.tokens.token import draw_id


@pytest.fixture
def world(tmp_path, receiver):
    """A world that goes by the machine's clock."""
    hook = {"name": "app", "on": ["all"], "webhook": receiver.url(), "secret_file": "/unused", "allow_http": True}
    hook |= {"allow_private": ["127.0.0.1"], "timeout": "60s", "connections": 2}
    with World(tmp_path, {"hook": [hook], "courier": {"lease": "1s", "first_pause": "1s"}}) as world:
        world.clock = system_clock
        yield world


def put(world, count=1):
    new = [NewItem(system_clock(), "event", "hook:app", "paused", b"{}") for _ in range(count)]
    world.writer.run(lambda connection: [queue.put(connection, one) for one in new], 10_000)


@contextmanager
def store_locked(folder):
    """The store as it is while another process sits on it."""
    with (folder / "retour.db.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_what_takes_long_is_not_taken_by_another(world, receiver, tmp_path):
    """The lease of one second is renewed while the receiver takes three; the second courier looks on."""
    receiver.slow = 3.0
    put(world)
    with running_courier(tmp_path, world) as first, running_courier(tmp_path, world):
        first.wait_empty()
    assert (len(receiver.called), receiver.at_once) == (1, 1)


def test_at_the_end_what_is_in_hand_is_finished_and_the_rest_given_back(world, receiver, tmp_path):
    """Two at a time: these two arrive; the others are free at once for another courier."""
    receiver.slow = 0.5
    put(world, 8)
    with running_courier(tmp_path, world) as courier:
        wait_until(lambda: receiver.tried["/ok"] == 2, what="two in progress")
    assert len(receiver.called) == 2
    waiting = courier.waiting()
    assert [(item.taken_by, item.attempts) for item in waiting] == [(None, 0)] * 6
    assert all(item.due <= system_clock() for item in waiting)


@pytest.mark.sqlite
def test_what_was_done_while_the_store_was_down_is_recorded_afterwards(world, receiver, tmp_path):
    """It is not done again, although its lease ran out in the meantime."""
    receiver.slow = 0.5
    put(world)
    with running_courier(tmp_path, world) as courier:
        wait_until(lambda: receiver.tried["/ok"], what="the call")
        with store_locked(tmp_path):
            receiver.wait(1)
            (item,) = courier.waiting()
            wait_until(lambda: item.due < system_clock(), what="the end of its lease")
        courier.wait_empty()
    assert len(receiver.called) == 1


@pytest.mark.sqlite
def test_a_lease_that_cannot_be_renewed_stops_the_work(world, receiver, tmp_path):
    """Before it has run out: another courier may begin then. Afterwards it is done from the beginning."""
    receiver.slow = 30.0
    put(world)
    with running_courier(tmp_path, world) as courier:
        wait_until(lambda: receiver.tried["/ok"], what="the call")
        (item,) = courier.waiting()
        with store_locked(tmp_path):
            wait_until(lambda: not receiver.open, what="the end of the call")
            assert system_clock() < courier.waiting()[0].due
        receiver.slow = 0.0
        courier.wait_empty()
    assert (len(receiver.called), receiver.at_once) == (1, 1)
    assert receiver.called[0].id == item.uid


@pytest.mark.sqlite
def test_what_is_leased_ahead_is_not_begun_when_the_lease_is_lost(world, receiver, tmp_path):
    """Another courier may have begun it meanwhile: it is left, and taken again later."""
    receiver.slow = 30.0
    put(world, 4)
    with running_courier(tmp_path, world) as courier:
        wait_until(lambda: receiver.tried["/ok"] == 2, what="two calls; the others stand ready")
        with store_locked(tmp_path):
            wait_until(lambda: not receiver.open, what="the end of both")
            receiver.slow = 0.0
            wait_until(lambda: courier.waiting()[-1].due < system_clock(), what="the end of the leases")
            assert receiver.tried["/ok"] == 2
        courier.wait_empty()
    assert (len(receiver.called), receiver.at_once) == (4, 1)


def test_a_fault_in_one_channel_ends_no_other(world, receiver, tmp_path, monkeypatch):
    """Whatever is wrong with one, events go on reaching the others' receivers."""
    taking = outbox.read_due_ids

    def broken(connection, channel, now, limit):
        if channel.startswith("relay:"):
            raise ValueError("a fault")
        return taking(connection, channel, now, limit)

    monkeypatch.setattr(outbox, "read_due_ids", broken)
    with running_courier(tmp_path, world) as courier:
        put(world, 1)
        courier.wait_empty()
        put(world, 1)
        courier.wait_empty()
    assert len(receiver.called) == 2


def test_what_is_recorded_during_a_look_is_looked_at_again(world, receiver, tmp_path, monkeypatch):
    """The second event of an address becomes free just after a look that did not see it: it does not wait for long."""
    monkeypatch.setattr("retour_courier.channel.POLL_INTERVAL_S", 60)
    seeing, looked = outbox.read_due_ids, []

    def late(connection, channel, now, limit):
        found = seeing(connection, channel, now, limit)
        if receiver.called and channel == "hook:app" and not found and not looked:
            looked.append(True)
            wait_until(lambda: len(carried.waiting()) == 1, what="the note, after the look")
        return found

    monkeypatch.setattr(outbox, "read_due_ids", late)
    new = [NewItem(system_clock(), "event", "hook:app", "paused", b"{}", ordering=7) for _ in range(2)]
    world.writer.run(lambda connection: [queue.put(connection, one) for one in new], 10_000)
    with running_courier(tmp_path, world) as carried:
        receiver.wait(1)
        carried.wait_empty()


class Stopping(Destination):
    """Takes messages, and keeps the store from being written from the first one on."""

    def take(self, message):
        self.lock = (self.folder / "retour.db.lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        super().take(message)


def test_a_courier_that_dies_between_sending_and_noting_sends_twice(tmp_path):
    """What docs/outbox.md says: the recipient gets the same message again, with the same token; it is recorded once."""
    server = Stopping()
    server.folder = tmp_path
    config = {
        "stream": [
            {"name": "news", "envelope_from": "b-%@bounces.example.com", "retry": {"interval": "1s", "count": 1}}
        ],
        "relay": {"default": {"port": server.port}},
        "spool": {"dir": str(tmp_path / "spool")},
        "courier": {"lease": "1s"},
    }
    with World(tmp_path, config) as world, server:
        world.now = system_clock() - DAY
        ring(tmp_path, world)
        _soft_bounce(world, tmp_path)
        with KilledCouriers(world.url, tmp_path / "keys.toml", [config]) as couriers:
            pid = couriers.start(0)
            server.wait(1)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not Path(f"/proc/{pid}").exists(), what="its end")
            assert _resent(world) == []
            server.take = lambda message: Destination.take(server, message)
            server.lock.close()
            couriers.start(0)
            first, second = server.wait(2)
            wait_until(lambda: len(_resent(world)) == 1, what="the note")
    assert (first.sender, first.content) == (second.sender, second.content)


def _soft_bounce(world, folder):
    name = new_name(world.now + 7 * DAY)
    Spool(folder / "spool").put(name, b"Subject: x\r\nMessage-ID: <1@example.com>\r\n\r\nx\r\n")
    resends = Resends.of(world.config, lambda: draw_id(world.now))
    world.recorder = type(world.recorder)(**vars(world.recorder) | {"resends": resends})
    world.bounce(world.send(spool=name), like="full")


def _resent(world):
    with world.store.reading() as connection:
        return list(read(connection, FactFilter(kind="resent")))


def test_an_internal_error_stops_no_later_outcome(tmp_path, world, receiver, monkeypatch):
    """Else whatever is carried out after it would be carried out again and again."""
    log_done, errors = outcomes._log_done, iter([MemoryError])

    def failing_once(group):
        if error := next(errors, None):
            raise error
        log_done(group)

    monkeypatch.setattr(outcomes, "_log_done", failing_once)
    with running_courier(tmp_path, world) as courier:
        for _ in range(2):
            put(world)
            courier.wait_empty()
    assert next(errors, None) is None
    assert len(receiver.wait(2)) == 2


def test_a_store_that_is_down_is_told_once_by_each_channel(world, receiver, tmp_path, monkeypatch):
    """However often it is asked until it is back; and told again the next time."""
    asked, down = [], True

    def read_due(*_):
        asked.append(1)
        if down:
            raise StoreUnavailable("away")
        return []

    monkeypatch.setattr("retour_policy.store.outbox.read_due_ids", read_due)
    channels = len(world.config.hook) + 1 + len(world.config.relay)
    with capture_logs() as logs, running_courier(tmp_path, world):
        for turn in (1, 2):
            down = True
            asked.clear()
            wait_until(lambda: len(asked) > 10 * channels, what="looks at the outbox")
            assert [one["event"] for one in logs].count("store is down") == turn * channels
            down = False
            asked.clear()
            wait_until(lambda: len(asked) > 3 * channels, what="looks at the outbox")
