"""Couriers that are killed at any moment: nothing is lost, nothing is told twice without a kill, never at once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict
from itertools import pairwise

import pytest

from lab.courier import items, ring
from lab.killed_courier import KilledCouriers
from lab.receiver import Receiver
from lab.wait import wait_until
from lab.world import World
from retour_policy.clock import system_clock
from retour_policy.outbox import queue
from retour_policy.store.outbox import NewItem

ADDRESSES = 60


def config(receiver, path):
    hook = {"name": "app", "on": ["all"], "webhook": receiver.url(path), "secret_file": "/unused"}
    more = {"allow_http": True, "allow_private": ["127.0.0.1"], "connections": 4}
    return {"hook": [hook | more], "courier": {"lease": "5s", "first_pause": "1s"}}


def put(world, count, begin=0):
    now = system_clock()
    new = [
        NewItem(
            now, "event", "hook:app", "paused", b'{"n": %d, "address": %d}' % (n, n % ADDRESSES), str(n), n % ADDRESSES
        )
        for n in range(begin, begin + count)
    ]
    world.writer.run(lambda connection: [queue.put(connection, one) for one in new], 20_000)


def left(world):
    return [(item.uid, item.error) for item in items(world.store)]


def wait_empty(world):
    """Wait as long as less and less is left."""
    while before := len(left(world)):
        wait_until(lambda: len(left(world)) < before, what="less in the outbox", seen=lambda: left(world)[:10])


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the end of a process")  # noqa: PTH110
    return time.monotonic()


def run(folder, receiver, kills, items):
    """Two couriers at work, one of them killed again and again; when each was killed, by its path."""
    killed = {"/a": [], "/b": []}
    chance = random.Random(kills)
    with World(folder) as world:
        put(world, items)
        configs = [config(receiver, path) for path in killed]
        ring(folder, world)
        with KilledCouriers(world.url, folder / "keys.toml", configs) as couriers:
            pids = {path: couriers.start(number) for number, path in enumerate(killed)}
            for n in range(kills):
                time.sleep(chance.expovariate(1 / 0.08))  # the moment of a kill is what is tried, not waited for
                path = chance.choice(list(killed))
                killed[path].append(kill(pids[path]))
                pids[path] = couriers.start(list(killed).index(path))
                if n % 100 == 99:
                    put(world, items, items * (n // 100 + 1))
            wait_empty(world)
            for pid in pids.values():
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"), what="its end")  # noqa: PTH110
    return killed


def judge(receiver, killed, items):
    """What must hold, whatever was killed when; how many were told more than once."""
    told = defaultdict(list)
    for called in receiver.called:
        told[called.id].append(called)
    assert set(told) == {str(n) for n in range(items)}
    assert receiver.at_once == 1
    again = 0
    for calls in told.values():
        for first, second in pairwise(calls):
            again += 1
            assert any(first.at - 0.1 <= at <= second.at for at in killed[first.path]), (first, second)
    for address in range(ADDRESSES):
        order = list(dict.fromkeys(c.event["n"] for c in receiver.called if c.event["address"] == address))
        assert order == sorted(order)
    return again


@pytest.mark.parametrize(
    ("kills", "items"), [(30, 1500), pytest.param(1000, 2000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_two_couriers_under_random_kills(tmp_path, kills, items):
    """Each item is told at least once, in the order of its address; again only where its courier was killed."""
    with Receiver(slow=0.002) as receiver:
        killed = run(tmp_path, receiver, kills, items)
        again = judge(receiver, killed, items * (1 + kills // 100))
    print(f"{kills} kills, {len(receiver.called)} calls, {again} of them again")
