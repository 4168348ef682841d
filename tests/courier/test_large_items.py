"""Large items: what is done to many at once is done to a few megabytes a transaction."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select

from lab.world import World
from retour_courier import dead_letters
from retour_courier.async_store import AsyncStore
from retour_courier.errors import DeliveryError
from retour_courier.leases import Leases
from retour_courier.outcomes import Outcomes
from retour_courier.sweep import sweep
from retour_policy.clock import DAY, HOUR
from retour_policy.outbox import queue
from retour_policy.outbox.manage import MAX_BATCH_OCTETS
from retour_policy.outbox.queue import FORWARD
from retour_policy.store import outbox, outbox_backlog, outbox_selection, schema
from retour_policy.store.outbox import NewItem

SIZE, NUMBER = 1_000_000, 10


@pytest.fixture
def world(tmp_path):
    with World(tmp_path, {"spool": {"dir": str(tmp_path / "spool")}, "courier": {"keep_dead": "30d"}}) as world:
        new = NewItem(world.now, "forward", FORWARD, "postmaster@example.org", bytes(SIZE))
        small = NewItem(world.now, "event", FORWARD, "paused", b"{}")
        world.write(lambda connection: [queue.put(connection, new) for _ in range(NUMBER)])
        world.write(lambda connection: [queue.put(connection, small) for _ in range(NUMBER)])
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

    for module, name in ((outbox_backlog, "make_dead"), (outbox_selection, "drop"), (outbox, "finish")):
        monkeypatch.setattr(module, name, watching(getattr(module, name)))
    return found


def held(found):
    """No transaction changes much, and none but the last of a size little."""
    assert sum(map(len, found)) == 2 * NUMBER
    assert max(map(sum, found)) <= MAX_BATCH_OCTETS
    assert len(found) <= 1 + NUMBER * SIZE // MAX_BATCH_OCTETS


def test_what_is_given_up_at_once(world, changed):
    """All that waits for a relay which failed for days."""
    store = AsyncStore(world.store, world.writer)
    given_up = dead_letters.give_up_overdue(store, FORWARD, world.clock(), "failed throughout")
    assert asyncio.run(given_up) == 2 * NUMBER
    held(changed)


def test_what_is_swept_at_once(world, changed):
    """What waits for a channel that is gone, and is removed a month later."""
    leases = Leases(world.config, AsyncStore(world.store, world.writer), world.clock)
    asyncio.run(sweep(leases, ["hook:other"], 0))
    held(changed)
    changed.clear()
    world.now += 30 * DAY + HOUR
    asyncio.run(sweep(leases, ["hook:other"], 0))
    held(changed)
    with world.store.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.outbox)) == 0


@pytest.mark.parametrize("failed", [True, False])
def test_what_is_recorded_at_once(world, changed, failed, monkeypatch):
    """What was carried out, or could not be, while the store was slow."""
    monkeypatch.setattr("retour_courier.outcomes.GROUP_COMMIT_S", 0)
    write = queue.fail

    def watching(connection, failures, *more):
        if failures:
            changed.append([len(one.item.body) for one in failures])
        write(connection, failures, *more)

    monkeypatch.setattr(queue, "fail", watching)

    async def work():
        leases = Leases(world.config, AsyncStore(world.store, world.writer), world.clock)
        outcomes = Outcomes(leases)
        ids = list(range(1, 2 * NUMBER + 1))
        until = world.now + HOUR
        taken = world.write(lambda connection: outbox.take(connection, ids, leases.me, world.now, until))
        for item in taken:
            if failed:
                outcomes.mark_failed([item], DeliveryError("no", temporary=True))
            else:
                outcomes.mark_done([item], None)
        writing = asyncio.create_task(outcomes.keep_committing())
        await outcomes.flush(20)
        writing.cancel()

    asyncio.run(work())
    held(changed)
