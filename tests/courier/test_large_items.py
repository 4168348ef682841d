"""Large items: what is done to many at once is done to a few megabytes a transaction."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select

from lab.world import World
from retour_courier import leases as in_hand
from retour_courier.errors import DeliveryError
from retour_courier.leases import Leases
from retour_courier.sweep import sweep
from retour_policy.clock import DAY, HOUR
from retour_policy.outbox import backlog
from retour_policy.outbox import queue as outbox
from retour_policy.outbox.queue import FORWARD, NewItem
from retour_policy.store import schema

SIZE, NUMBER = 1_000_000, 10


@pytest.fixture
def world(tmp_path):
    with World(tmp_path, {"spool": {"dir": str(tmp_path / "spool")}, "courier": {"keep_dead": "30d"}}) as world:
        new = NewItem(world.now, "forward", FORWARD, "postmaster@example.org", bytes(SIZE))
        small = NewItem(world.now, "event", FORWARD, "paused", b"{}")
        world.write(lambda connection: [outbox.put(connection, new) for _ in range(NUMBER)])
        world.write(lambda connection: [outbox.put(connection, small) for _ in range(NUMBER)])
        world.wait("4d")
        yield world


@pytest.fixture
def changed(world, monkeypatch):
    """Octets of the items that were changed, and their number, by transaction."""
    found: list[list[int]] = []

    def watching(change):
        def work(connection, ids, *more):
            sizes = select(func.length(schema.outbox.c.body)).where(schema.outbox.c.id.in_(ids))
            found.append(list(connection.scalars(sizes)))
            return change(connection, ids, *more)

        return work

    for module, name in ((backlog, "bury"), (outbox, "drop"), (outbox, "done")):
        monkeypatch.setattr(module, name, watching(getattr(module, name)))
    return found


def held(found):
    """No transaction changes much, and none but the last of a size little."""
    assert sum(map(len, found)) == 2 * NUMBER
    assert max(map(sum, found)) <= outbox.OCTETS
    assert len(found) <= 1 + NUMBER * SIZE // outbox.OCTETS


def test_what_is_given_up_at_once(world, changed):
    """All that waits for a relay which failed for days."""
    hands = Leases(world.config, world.store, world.writer, world.clock)
    assert asyncio.run(hands.give_up(FORWARD, "failed throughout")) == 2 * NUMBER
    held(changed)


def test_what_is_swept_at_once(world, changed):
    """What waits for a channel that is gone, and is removed a month later."""
    hands = Leases(world.config, world.store, world.writer, world.clock)
    asyncio.run(sweep(hands, ["hook:other"], 0))
    held(changed)
    changed.clear()
    world.now += 30 * DAY + HOUR
    asyncio.run(sweep(hands, ["hook:other"], 0))
    held(changed)
    with world.store.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.outbox)) == 0


@pytest.mark.parametrize("failed", [True, False])
def test_what_is_noted_at_once(world, changed, failed, monkeypatch):
    """What was carried out, or could not be, while the store was slow."""
    monkeypatch.setattr(in_hand, "GATHER", 0)
    write = outbox.failed

    def watching(connection, failures, *more):
        if failures:
            changed.append([len(one.item.body) for one in failures])
        write(connection, failures, *more)

    monkeypatch.setattr(outbox, "failed", watching)

    async def work():
        hands = Leases(world.config, world.store, world.writer, world.clock)
        ids = list(range(1, 2 * NUMBER + 1))
        until = world.now + HOUR
        taken = world.write(lambda connection: outbox.take(connection, ids, hands.me, world.now, until))
        for item in taken:
            if failed:
                hands.failed([item], DeliveryError("no", temporary=True))
            else:
                hands.done([item], None)
        writing = asyncio.create_task(hands.write_notes())
        await hands.noted(20)
        writing.cancel()

    asyncio.run(work())
    held(changed)
