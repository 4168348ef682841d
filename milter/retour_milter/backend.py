"""Backend: what all sessions of the milter share: the settings in force, the store, and the signer."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from retour_policy.address import address_key
from retour_policy.clock import Clock
from retour_policy.config.model import Config, Stream
from retour_policy.core.suppression import Suppression
from retour_policy.errors import StoreUnavailable
from retour_policy.ledger.ledger import Ledger
from retour_policy.ledger.storms import Storms
from retour_policy.messages.outgoing import RecordedSend, SendRecorder
from retour_policy.messages.router import Router, Signer
from retour_policy.outbox.spool import Spool, new_name
from retour_policy.store import suppressions
from retour_policy.store.database import Store
from retour_policy.store.sends import NewSend
from retour_policy.store.writer import Writer
from retour_policy.tokens.keyring import KeyRingFile

ANSWER_TIME = 2_000  # milliseconds that libmilter gets to send an answer: a thousand times what it takes

log = structlog.get_logger()


@dataclass(frozen=True)
class Settings:
    """The configuration in force. A message keeps the one that it began with."""

    config: Config
    router: Router
    outgoing: SendRecorder


class Backend:
    """Safe in any thread."""

    def __init__(self, config: Config, ring: KeyRingFile, store: Store, writer: Writer, clock: Clock) -> None:
        self.clock = clock
        self.signer = Signer(ring, clock)
        self._ring = ring
        self._store = store
        self._writer = writer
        self.in_flight = InFlight()
        self.adopt(config)

    def adopt(self, config: Config) -> None:
        """Use `config` for the messages that begin from now on."""
        self._ring.refresh()
        ledger = Ledger.of(config, self._writer, self.clock)
        outgoing = SendRecorder(self._ring.ring.address_secret, ledger, Storms.of(config), self.clock, self.signer.draw)
        self.settings = Settings(config, Router(config, self._ring, self.clock), outgoing)

    @property
    def wants_bodies(self) -> bool:
        """Whether any message may have to be sent again."""
        return any(stream.retry for stream in self.settings.config.stream)

    def suppressed(self, stream: Stream, address: str) -> Suppression | None:
        """Why `address` must not get mail of `stream` now, if so. Raises `StoreUnavailable`."""
        key = address_key(self._ring.ring.address_secret, address)
        with self._store.reading() as connection:
            return suppressions.find_in_force(
                connection, key, stream.name, self.clock(), transactional=stream.transactional
            )

    def record(
        self, settings: Settings, stream: Stream, new: NewSend, withheld: Mapping[str, Suppression]
    ) -> RecordedSend:
        """Write the send (where the stream is tracked and anybody is left) and who was left out.

        Durable when it returns. Raises `StoreUnavailable`.
        """
        watch = stream.suppressed != "pass"

        def work(connection: Connection) -> RecordedSend:
            return settings.outgoing.record(connection, new, withheld, track=stream.track, watch=watch)

        try:
            return self._writer.run(work, settings.config.milter.store_timeout)
        except StoreUnavailable:
            raise
        except Exception as error:
            raise StoreUnavailable(f"recording a send failed: {error!r}") from error

    def name_copy(self, settings: Settings, stream: Stream) -> str:
        """A name for the copy of a message that may be sent again; it tells when the copy is of no more use."""
        retry = stream.retry
        tries = retry.interval * retry.count if retry else 0
        return new_name(self.clock() + settings.config.spool.queue_lifetime + tries)

    def keep_copy(self, settings: Settings, name: str, content: bytes) -> None:
        """Write the copy. A full disk must not stop the mail: it goes out, and is not sent again."""
        try:
            Spool(settings.config.spool.dir).put(name, content)
        except OSError as error:
            log.error("no copy kept", error=str(error), spool=name)


class InFlight:
    """How many messages are between MAIL and their end.

    libmilter sends an answer only after the callback that gave it has returned, and does not tell when. So a
    message that is `answered` still counts, until its connection shows by its next step that the answer was sent,
    or `ANSWER_TIME` has passed.
    """

    def __init__(self) -> None:
        self._open = 0
        self._answered = 0
        self._last_answer = 0.0
        self._stopping = False
        self._changed = threading.Condition()

    def enter(self) -> bool:
        """A message begins; False where none may begin any more."""
        with self._changed:
            self._open += not self._stopping
            return not self._stopping

    def answered(self) -> None:
        """A message that had entered has its last answer, which is about to be sent."""
        with self._changed:
            self._open -= 1
            self._answered += 1
            self._last_answer = time.monotonic()
            self._changed.notify_all()

    def leave(self, *, answered: bool) -> None:
        """A message that had entered is over: its last answer was sent, or its client is gone."""
        with self._changed:
            if answered:
                self._answered -= 1
            else:
                self._open -= 1
            self._changed.notify_all()

    def drain(self, timeout: int) -> bool:
        """Let no more in and wait at most `timeout` milliseconds until none is under way; whether that came."""
        with self._changed:
            self._stopping = True
            done = self._changed.wait_for(lambda: self._open == 0, timeout / 1000)
            rest = self._last_answer + ANSWER_TIME / 1000 - time.monotonic()
            self._changed.wait_for(lambda: self._answered == 0, max(0.0, rest))
            return done
