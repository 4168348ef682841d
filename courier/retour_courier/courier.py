"""Courier: takes what is due from the outbox and carries it out, until it is told to stop."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import structlog
from sqlalchemy import exists, select

from retour_courier import forward, relay
from retour_courier.relay import NotSent
from retour_policy import outbox, schema
from retour_policy.clock import Clock
from retour_policy.config import Config
from retour_policy.errors import StoreUnavailable
from retour_policy.outbox import Item
from retour_policy.store import Store
from retour_policy.writer import Writer

AT_ONCE = 20  # items leased together
LOOK_EVERY = 1.0  # seconds between looks at an empty outbox: one indexed read
STORE_TIMEOUT = 30_000  # milliseconds

log = structlog.get_logger()


@dataclass
class Courier:
    """One worker. Several may run, on several hosts: each item is leased to one of them."""

    config: Config
    store: Store
    writer: Writer
    clock: Clock

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; the item in hand is finished."""
        while not stop.is_set():
            try:
                worked = self.work()
            except StoreUnavailable as error:
                log.error("store is down", error=str(error))
                worked = 0
            if not worked:
                stop.wait(LOOK_EVERY)

    def work(self) -> int:
        """Carry out what is due now; how many items that were. Raises `StoreUnavailable`."""
        if not self._anything_due():
            return 0
        items = self.writer.run(lambda connection: outbox.take(connection, self.clock(), AT_ONCE), STORE_TIMEOUT)
        for item in items:
            self._carry_out(item)
        return len(items)

    def _anything_due(self) -> bool:
        table, now = schema.outbox, self.clock()
        due = exists().where(table.c.failed == 0, table.c.due <= now, table.c.leased_until <= now)
        with self.store.reading() as connection:
            return bool(connection.scalar(select(due)))

    def _carry_out(self, item: Item) -> None:
        try:
            message = forward.compose(item.body, item.target, item.at, item.id)
            relay.send(self.config.relay["default"], item.target, message)
        except NotSent as error:
            log.error("not forwarded", item=item.id, target=item.target, error=str(error), temporary=error.temporary)
            self._note_failure(item, str(error), permanent=not error.temporary)
            return
        except Exception as error:
            log.exception("not forwarded", item=item.id, target=item.target)
            self._note_failure(item, repr(error), permanent=False)
            return
        self.writer.run(lambda connection: outbox.done(connection, item), STORE_TIMEOUT)
        log.info("forwarded to postmaster", item=item.id, target=item.target)

    def _note_failure(self, item: Item, error: str, *, permanent: bool) -> None:
        now = self.clock()
        self.writer.run(
            lambda connection: outbox.failed(connection, item, now, error, permanent=permanent), STORE_TIMEOUT
        )
