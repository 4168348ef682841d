"""Backend: what all sessions of the milter share: the settings in force, the store, and the signer."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from retour_milter.in_flight import InFlight
from retour_policy.clock import Clock, ClockWatch
from retour_policy.config.model import Config, Stream
from retour_policy.core.suppression import Suppression
from retour_policy.errors import StoreUnavailable
from retour_policy.ledger.ledger import Ledger
from retour_policy.ledger.storms import Storms
from retour_policy.messages.outgoing import RecordedSend, SendRecorder
from retour_policy.messages.router import Router
from retour_policy.messages.signer import Signer
from retour_policy.outbox.spool import Spool, new_name
from retour_policy.store import sends, suppressions
from retour_policy.store.database import Store
from retour_policy.store.sends import NewSend
from retour_policy.store.writer import Writer
from retour_policy.tokens.keyring import KeyRingFile

log = structlog.get_logger()


@dataclass(frozen=True)
class Settings:
    """The configuration in force. A message keeps the one that it began with."""

    config: Config
    router: Router
    recorder: SendRecorder


class Backend:
    """Safe in any thread."""

    def __init__(self, config: Config, ring: KeyRingFile, store: Store, writer: Writer, clock: Clock) -> None:
        self.clock = clock
        self.signer = Signer(ring, clock)
        self._ring = ring
        self._store = store
        self._writer = writer
        self.in_flight = InFlight()
        self._clock_watch = ClockWatch(clock)
        self.adopt(config)

    def adopt(self, config: Config) -> None:
        """Use `config` for messages that begin from now on."""
        self._ring.refresh()
        ledger = Ledger.of(config, self._writer, self.clock)
        recorder = SendRecorder(self._ring.address_secret, ledger, Storms.of(config), self.clock, self.signer.draw)
        self.settings = Settings(config, Router(config, self._ring, self.clock), recorder)

    def tick(self) -> None:
        """Look at the clock, and at the database also while no mail goes out. Called every few seconds."""
        if jump := self._clock_watch.jump():
            log.error("clock jumped", by_ms=jump)
        with contextlib.suppress(StoreUnavailable):  # it was logged
            self._store.look()

    @property
    def wants_bodies(self) -> bool:
        """Whether any stream sends messages again."""
        return any(stream.retry for stream in self.settings.config.stream)

    def suppressed(self, stream: Stream, address: str) -> Suppression | None:
        """Why `address` must not get mail of `stream` now, if so. Raises `StoreUnavailable`."""
        key = self._ring.address_key(address)
        with self._store.reading() as connection:
            return suppressions.find_in_force(
                connection, key, stream.name, self.clock(), transactional=stream.transactional
            )

    def record(
        self,
        settings: Settings,
        stream: Stream,
        sender: str,
        recipients: Sequence[str],
        withheld: Mapping[str, Suppression],
        *,
        message_id: str | None,
        tag: str | None,
        queue_id: str | None,
        spool: str | None,
    ) -> RecordedSend:
        """Write the send (if the stream is tracked and a recipient is left) and the recipients that were withheld.

        Durable when it returns. Raises `StoreUnavailable`.
        """
        new = NewSend(stream.name, sender, tuple(recipients), message_id, tag, queue_id, spool=spool)
        watch = stream.suppressed != "pass"

        def work(connection: Connection) -> RecordedSend:
            return settings.recorder.record(connection, new, withheld, track=stream.track, watch=watch)

        try:
            return self._writer.run(work, settings.config.milter.store_timeout, _not_sent)
        except StoreUnavailable:
            raise
        except Exception as error:
            raise StoreUnavailable(f"recording a send failed: {error!r}") from error

    def name_copy(self, settings: Settings, stream: Stream) -> str:
        """A name for the copy of a message that may be sent again; it contains the time when the copy expires."""
        retry = stream.retry
        resends = retry.interval * retry.count if retry else 0
        return new_name(self.clock() + settings.config.spool.queue_lifetime + resends)

    def keep_copy(self, settings: Settings, name: str, content: bytes) -> None:
        """Write the copy. A full disk must not stop the mail: the message goes out, but will not be sent again."""
        try:
            Spool(settings.config.spool.dir).put(name, content)
        except OSError as error:
            log.error("copy not written", error=str(error), spool=name)


def _not_sent(connection: Connection, recorded: RecordedSend) -> None:
    """The client heard 451 before the commit came: no message went out, so this is no mail that arrived."""
    sends.remove(connection, recorded.send)
