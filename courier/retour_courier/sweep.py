"""Sweep: removes copies that nobody will send again and old dead letters; buries items whose hook or relay is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from sqlalchemy import select

from retour_courier.leases import Leases
from retour_policy.clock import HOUR
from retour_policy.outbox import backlog
from retour_policy.outbox import queue as outbox
from retour_policy.outbox.spool import Spool
from retour_policy.store import schema
from retour_policy.store.database import Store

PATIENCE = HOUR  # a copy may be written before its send; a hook be configured on one host before another
CHUNK = 500
NO_CHANNEL = "no such hook or relay in the configuration"

log = structlog.get_logger()


async def sweep(hands: Leases, channels: Sequence[str], part: int) -> None:
    """Do it once, with one part of the copies. Raises `StoreUnavailable`, `OSError`."""
    now = hands.clock()
    if channels:
        buried = await hands.in_parts(
            lambda connection: backlog.orphans(connection, channels, now - PATIENCE, now, CHUNK),
            lambda connection, ids: backlog.bury(connection, ids, now, NO_CHANNEL),
        )
        if buried:
            log.error("items without a hook or relay", items=buried)
    forgotten = await hands.in_parts(
        lambda connection: backlog.old_dead(connection, now - hands.config.courier.keep_dead, CHUNK), outbox.drop
    )
    if forgotten:
        log.warning("old dead letters removed", items=forgotten)
    removed = await asyncio.to_thread(remove_copies, Spool(hands.config.spool.dir), hands.store, now, part)
    if removed:
        log.info("copies removed", copies=removed)


def remove_copies(spool: Spool, store: Store, now: int, part: int | None = None) -> int:
    """Remove copies whose time is over or that no send names (it was erased, or never recorded); how many."""
    removed, doubtful = 0, list[str]()
    for name, expires, written in spool.names(part):
        if expires <= now:
            spool.remove(name)
            removed += 1
        elif written < now - PATIENCE:
            doubtful.append(name)
    for start in range(0, len(doubtful), CHUNK):
        some = doubtful[start : start + CHUNK]
        for name in set(some) - _named(store, some):
            spool.remove(name)
            removed += 1
    return removed


def _named(store: Store, names: Sequence[str]) -> set[str]:
    query = select(schema.send.c.spool).where(schema.send.c.spool.in_(names))
    with store.reading() as connection:
        return set(connection.scalars(query))
