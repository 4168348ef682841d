"""Sweep: gives up items without a hook or relay; removes old dead letters, copies that will not be sent, free room."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from retour_courier import dead_letters
from retour_courier.leases import Leases
from retour_policy.clock import HOUR
from retour_policy.outbox import manage
from retour_policy.outbox.spool import Spool
from retour_policy.store import sends, sqlite
from retour_policy.store.database import Store

ORPHAN_GRACE_MS = HOUR  # a copy may be written before its send; a hook may be configured on one host before another
MAX_LOOKED_UP_COPIES = 500  # in one statement

log = structlog.get_logger()


async def sweep(leases: Leases, channels: Sequence[str], part: int) -> None:
    """Do it once, with one part of the copies. Raises `StoreUnavailable`, `OSError`."""
    now, config = leases.clock(), leases.config
    if channels:
        orphans = await dead_letters.give_up_orphans(leases.store, channels, now - ORPHAN_GRACE_MS, now)
        if orphans:
            log.error("items without a hook or relay", count=orphans)
    removed = await dead_letters.remove_old(leases.store, now - config.courier.keep_dead)
    if removed:
        log.warning("old dead letters removed", count=removed)
    while await leases.store.write(sqlite.release_pages):
        pass
    copies = await asyncio.to_thread(remove_copies, Spool(config.spool.dir), leases.store.store, now, part)
    if copies:
        log.info("copies removed", count=copies)


async def bring_back(leases: Leases) -> None:
    """Set right all items that a clock which was ahead has dated. Raises `StoreUnavailable`."""
    count, lease = 0, leases.config.courier.lease
    while found := await leases.store.write(lambda connection: manage.bring_back(connection, leases.clock(), lease)):
        count += found
    if count:
        log.error("items from a clock that was ahead", count=count)


def remove_copies(spool: Spool, store: Store, now: int, part: int | None = None) -> int:
    """Remove copies that have expired or that no send refers to (it was erased, or never recorded); how many."""
    removed, doubtful = 0, list[str]()
    for name, expires, written in spool.names(part):
        if expires <= now:
            spool.remove(name)
            removed += 1
        elif written < now - ORPHAN_GRACE_MS:
            doubtful.append(name)
    for start in range(0, len(doubtful), MAX_LOOKED_UP_COPIES):
        names = doubtful[start : start + MAX_LOOKED_UP_COPIES]
        with store.reading() as connection:
            named = sends.read_spool_names(connection, names)
        for name in set(names) - named:
            spool.remove(name)
            removed += 1
    return removed
