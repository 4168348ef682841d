"""Backend: what all sessions of the milter share: the settings in force, the store, and the signer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from retour_milter.in_flight import InFlight
from retour_milter.list_headers import ListAddresses
from retour_policy.address import address_key
from retour_policy.clock import Clock, ClockWatch
from retour_policy.config.feedback import link
from retour_policy.config.model import Config, Stream
from retour_policy.core.suppression import Suppression
from retour_policy.errors import StoreUnavailable
from retour_policy.ledger.ledger import Ledger
from retour_policy.ledger.storms import Storms
from retour_policy.messages.outgoing import OutgoingMessage, RecordedSend, SendRecorder
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

MAX_RECIPIENTS_AT_ONCE = 1_000  # in one transaction: 50 ms, in which others wait; Postfix's smtpd takes no more either

T = TypeVar("T")
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
        """Why `address` must not get mail of `stream` now, if so: one query. Raises `StoreUnavailable`."""
        key = self._ring.address_key(address)
        with self._store.querying() as connection:
            return suppressions.find_in_force(
                connection, key, stream.name, self.clock(), transactional=stream.transactional
            )

    def suppressed_among(self, stream: Stream, some: Iterable[str]) -> dict[str, Suppression]:
        """Which of some addresses must not get mail of `stream` now, and why. Raises `StoreUnavailable`."""
        keys = {address: self._ring.address_key(address) for address in some}
        with self._store.reading() as connection:
            found = suppressions.find_all_in_force(
                connection, set(keys.values()), stream.name, self.clock(), transactional=stream.transactional
            )
        return {address: found[key] for address, key in keys.items() if key in found}

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
            is_subscribed=stream.unsubscribe is not None,
        )
        message = OutgoingMessage(new, withheld, track=stream.track, watch=stream.suppressed != "pass")
        if message.weight > MAX_RECIPIENTS_AT_ONCE:
            return self._record_in_parts(settings, message)
        future = self._writer.submit_to(settings.recorder.record_many, message, message.weight)
        return self._durable(settings, future, _not_sent)

    def _record_in_parts(self, settings: Settings, message: OutgoingMessage) -> RecordedSend:
        """Write a message with very many recipients so that others hardly wait: all of it counts, or nothing does."""
        number: int | None = None
        newly: dict[str, Suppression] = {}
        for part in _parts(message):
            work = partial(settings.recorder.record_part, number=number, part=part)
            recorded = self._durable(settings, self._writer.submit(work))
            number = recorded.send
            newly |= recorded.newly_suppressed
        done = RecordedSend(number or 0, newly)
        if message.track:
            self._durable(
                settings,
                self._writer.submit(lambda connection: settings.recorder.complete(connection, done.send)),
                lambda connection, _: _not_sent(connection, done),
            )
        return done

    def _durable(self, settings: Settings, future: Future[T], undo: Callable[[Connection, T], None] | None = None) -> T:
        """What was written, once it is durable. Any error means that it is not.

        `undo` is done where the commit comes after all, when the client has heard of an error.
        """
        try:
            return self._writer.wait_for(future, settings.config.milter.store_timeout, undo)
        except StoreUnavailable:
            raise
        except Exception as error:
            raise StoreUnavailable(f"recording a send failed: {error!r}") from error

    def list_addresses(self, settings: Settings, stream: Stream, recorded: RecordedSend) -> ListAddresses:
        """The addresses by which the recipients of a send unsubscribe and complain, where the stream has such."""
        unsubscribe, pattern, number = stream.unsubscribe, stream.mailto_pattern, recorded.subscription
        token = self.signer.subscription(number) if number is not None else None
        by_mail = token or self.signer.group_subscription(recorded.send)
        return ListAddresses(
            link=link(unsubscribe.https, token) if unsubscribe and unsubscribe.https and token else None,
            mailto=pattern.address(by_mail) if pattern else None,
            feedback=settings.config.lmtpd.feedback if stream.cfbl else None,
            feedback_token=self.signer.feedback(recorded.send) if stream.cfbl else "",
        )

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


def _parts(message: OutgoingMessage) -> Iterator[OutgoingMessage]:
    """The message by `MAX_RECIPIENTS_AT_ONCE` of those who get it, then of those who do not."""
    new = message.new
    for start in range(0, len(new.recipients), MAX_RECIPIENTS_AT_ONCE):
        some = new.recipients[start : start + MAX_RECIPIENTS_AT_ONCE]
        yield replace(message, new=replace(new, recipients=some), withheld={})
    apart = list(message.withheld.items())
    for start in range(0, len(apart), MAX_RECIPIENTS_AT_ONCE):
        some_apart = dict(apart[start : start + MAX_RECIPIENTS_AT_ONCE])
        yield replace(message, new=replace(new, recipients=()), withheld=some_apart)
