"""Backend: what all sessions of the milter share: the settings in force, the store, and the signer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from retour_milter.in_flight import InFlight
from retour_policy.address import address_key
from retour_policy.clock import Clock
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
from retour_policy.tokens.token import id_time

__all__ = ["Backend", "EarlierSend", "RecordedSend", "Settings"]

log = structlog.get_logger()


@dataclass(frozen=True)
class Settings:
    """The configuration in force. A message keeps the one that it began with."""

    config: Config
    router: Router
    recorder: SendRecorder


@dataclass(frozen=True)
class EarlierSend:
    """A send on record, which a message claims to be."""

    stream: str
    sender: str
    """The envelope sender before the stamp."""
    at: int
    is_resend: bool
    secret: bytes
    keys: frozenset[bytes]
    """Of its recipients; nobody who was withheld is among them."""

    def holds(self, address: str) -> bool:
        """Whether the message went to that address."""
        return address_key(self.secret, address) in self.keys


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
        """Use `config` for messages that begin from now on."""
        self._ring.refresh()
        ledger = Ledger.of(config, self._writer, self.clock)
        recorder = SendRecorder(self._ring.address_secret, ledger, Storms.of(config), self.clock, self.signer.draw)
        self.settings = Settings(config, Router(config, self._ring, self.clock), recorder)

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

    def find_send(self, number: int) -> EarlierSend | None:
        """The send with that id, if it is on record. Raises `StoreUnavailable`."""
        with self._store.reading() as connection:
            found = sends.find(connection, number)
        if found is None:
            return None
        keys, secret = frozenset(found.recipients.values()), self._ring.address_secret
        return EarlierSend(found.stream, found.sender, id_time(number), found.attempt > 0, secret, keys)

    def record(
        self,
        settings: Settings,
        stream: Stream,
        sender: str,
        recipients: Sequence[str],
        withheld: Mapping[str, Suppression],
        *,
        unheard: Collection[str] = (),
        message_id: str | None,
        tag: str | None,
        queue_id: str | None,
        spool: str | None,
    ) -> RecordedSend:
        """Write the send (if the stream is tracked and a recipient is left) and the recipients that were withheld.

        No report comes of those `recipients` that are `unheard`. Durable when it returns. Raises `StoreUnavailable`.
        """
        new = NewSend(
            stream.name,
            sender,
            tuple(recipients),
            unheard=frozenset(unheard),
            message_id=message_id,
            tag=tag,
            queue_id=queue_id,
            spool=spool,
        )
        watch = stream.suppressed != "pass"

        def work(connection: Connection) -> RecordedSend:
            return settings.recorder.record(connection, new, withheld, track=stream.track, watch=watch)

        try:
            return self._writer.run(work, settings.config.milter.store_timeout)
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
