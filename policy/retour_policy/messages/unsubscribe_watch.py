"""Unsubscribe watch: notices where so many unsubscribe so soon that it looks like a gateway that submits forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from retour_policy.config.model import Config
from retour_policy.core.hook_events import Data, Event
from retour_policy.core.storm import Sides, bucket
from retour_policy.core.unsubscribe_burst import SOON_AFTER_SEND_MS, WINDOW_MS, looks_like_a_gateway
from retour_policy.outbox.announcer import Announcer
from retour_policy.store import addresses, sends, storms, unsubscribe_counters
from retour_policy.store.addresses import Address

EVENT = "burst.unsubscribed"


@dataclass(frozen=True)
class UnsubscribeWatch:
    """Bound to a configuration."""

    sides: Sides
    announcer: Announcer
    log: Callable[[Event], None] = lambda _: None

    @classmethod
    def of(cls, config: Config, log: Callable[[Event], None] = lambda _: None) -> UnsubscribeWatch:
        """As a configuration has it."""
        return cls(Sides(config.sides), Announcer.of(config), log)

    def see(self, connection: Connection, address: Address, stream: str, now: int) -> None:
        """An address has just left a stream: count it if that came soon after a message, and tell of a burst, once."""
        text = addresses.find_text(connection, address.id)
        if text is None or not sends.was_sent_since(connection, address.id, stream, now - SOON_AFTER_SEND_MS):
            return
        side, since = self.sides.of(text), bucket(now - WINDOW_MS)
        unsubscribe_counters.count(connection, stream, side, bucket(now))
        unsubscribed, is_told = unsubscribe_counters.read(connection, stream, side, since)
        sent = storms.read_figures(connection, stream, side, since, now + 1).sent
        if is_told or not looks_like_a_gateway(unsubscribed, sent):
            return
        unsubscribe_counters.count(connection, stream, side, bucket(now), told=True)
        event = Event(EVENT, now, Data(stream=stream, side=side, sent=sent, unsubscribed=unsubscribed))
        self.announcer.tell(connection, event)
        self.log(event)
