"""Outgoing: records a message that is about to be sent: who gets it, who is withheld, and which send is a trial."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from retour_policy.address import address_key
from retour_policy.clock import Clock
from retour_policy.core.erased import kept_of_erased
from retour_policy.core.suppression import Suppression, strongest
from retour_policy.ledger.accounts import lock
from retour_policy.ledger.ledger import Ledger
from retour_policy.ledger.storms import Storms
from retour_policy.sanitize import clean, clean_values
from retour_policy.store import addresses, facts, sends, subscriptions, suppressions
from retour_policy.store.addresses import Address
from retour_policy.store.facts import NewFact
from retour_policy.store.sends import NewSend
from retour_policy.tokens.subscription import draw_number


@dataclass(frozen=True, slots=True)
class RecordedSend:
    """What was recorded."""

    send: int
    """0: nobody gets the message."""
    newly_suppressed: Mapping[str, Suppression]
    """Recipients that were suppressed between RCPT and now, or whose trial is in progress."""
    subscription: int | None = None
    """The number of its only recipient's subscription, if the send asked for one."""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message about to go out, and what is to be done with it."""

    new: NewSend
    withheld: Mapping[str, Suppression]
    """Recipients besides those of `new`, who do not get it, and why."""
    track: bool
    """Write the send."""
    watch: bool
    """Read the suppressions of its recipients again, under the lock of the transaction."""

    @property
    def weight(self) -> int:
        """How many ordinary messages it is worth, which have one recipient."""
        return max(1, len(self.new.recipients) + len(self.withheld))


@dataclass(frozen=True, slots=True)
class _SortedOut:
    """A message whose recipients were looked up again."""

    newly: dict[str, Suppression]
    without: Mapping[str, Suppression]
    """All who do not get it."""
    kept: NewSend
    track: bool

    @property
    def is_recorded(self) -> bool:
        """Whether a send is written: somebody gets it, and what comes back is to be matched."""
        return self.track and bool(self.kept.recipients)


@dataclass(frozen=True)
class SendRecorder:
    """What recording outgoing mail needs to know."""

    secret: bytes
    ledger: Ledger
    storms: Storms
    clock: Clock
    draw: Callable[[], int]

    def record(
        self, connection: Connection, new: NewSend, withheld: Mapping[str, Suppression], *, track: bool, watch: bool
    ) -> RecordedSend:
        """Write one message: see `record_many`."""
        return self.record_many(connection, [OutgoingMessage(new, withheld, track, watch)])[0]

    def record_many(self, connection: Connection, messages: Sequence[OutgoingMessage]) -> list[RecordedSend]:
        """Write the sends, their trials, and the recipients that are withheld, as if one message after the other.

        Each statement is executed once for all. Raises `IdTaken` of several.
        """
        sorted_out = self._sorted_out(connection, messages)
        tracked = [one.kept for one in sorted_out if one.is_recorded]
        self._count(connection, tracked)
        numbers = sends.record_many(connection, self.secret, tracked, self.draw) if tracked else ()
        written = iter(zip(numbers, self._subscriptions(connection, tracked), strict=True))
        recorded = []
        for one in sorted_out:
            number, subscription = next(written) if one.is_recorded else (self._unrecorded(one), None)
            recorded.append(RecordedSend(number, one.newly, subscription))
        return recorded

    def _subscriptions(self, connection: Connection, tracked: Sequence[NewSend]) -> list[int | None]:
        """Of each the number of its only recipient's subscription; none where several read the same message."""
        wanted = [self._subscriber(one) for one in tracked]
        numbers = addresses.read_numbers(connection, filter(None, wanted)) if any(wanted) else {}
        pairs = [(numbers[key], one.stream) if key else None for key, one in zip(wanted, tracked, strict=True)]
        found = subscriptions.ensure(connection, {*filter(None, pairs)}, self.clock(), draw_number)
        return [found[pair] if pair else None for pair in pairs]

    def _subscriber(self, new: NewSend) -> bytes | None:
        """The key of the only recipient, of a send that asks for their subscription."""
        keys = {address_key(self.secret, one) for one in new.recipients} if new.is_subscribed else set()
        return keys.pop() if len(keys) == 1 else None

    def _unrecorded(self, one: _SortedOut) -> int:
        """An id for a message that no send is written of; none where nobody gets it."""
        return self.draw() if one.kept.recipients else 0

    def record_part(self, connection: Connection, number: int | None, part: OutgoingMessage) -> RecordedSend:
        """The same for some recipients of a message that has very many, in a short transaction of its own.

        `number` is that of the send, None in the first part. Until `complete` is called, nobody has got the message.
        """
        (one,) = self._sorted_out(connection, [part])
        if not part.track:
            return RecordedSend(self.draw() if number is None else number, one.newly)
        if number is None:
            number = sends.begin(connection, one.kept, self.draw)
        sends.add_portion(connection, self.secret, number, one.kept)
        self._count(connection, [one.kept])
        return RecordedSend(number, one.newly)

    def complete(self, connection: Connection, number: int) -> None:
        """All parts of that send are recorded, and it goes out."""
        sends.complete(connection, number)

    def _sorted_out(self, connection: Connection, messages: Sequence[OutgoingMessage]) -> list[_SortedOut]:
        """Who turned out to be suppressed, and what is left of each message. What is withheld is written."""
        watched = [to for one in messages if one.watch for to in one.new.recipients]
        keys = {to: address_key(self.secret, to) for to in watched}
        found = suppressions.read(connection, set(keys.values()))
        sorted_out = [self._sort_out(connection, one, keys, found) for one in messages]
        self._write_withheld(connection, sorted_out)
        return sorted_out

    def _sort_out(
        self,
        connection: Connection,
        message: OutgoingMessage,
        keys: Mapping[str, bytes],
        found: dict[bytes, list[Suppression]],
    ) -> _SortedOut:
        new = message.new
        newly = self._newly_suppressed(connection, message, keys, found) if message.watch else {}
        without = {**message.withheld, **newly}
        left = tuple(one for one in new.recipients if one not in newly)
        judged_after = self.ledger.policy.for_stream(new.stream).rules.heal_after
        kept = replace(new, recipients=left, withheld=tuple(without), judged_after=judged_after)
        return _SortedOut(newly, without, kept, message.track)

    def _count(self, connection: Connection, sent: Sequence[NewSend]) -> None:
        heard = ((one.stream, (to for to in one.recipients if to not in one.unheard)) for one in sent)
        self.storms.count_sent(connection, heard, self.clock())

    def _newly_suppressed(
        self,
        connection: Connection,
        message: OutgoingMessage,
        keys: Mapping[str, bytes],
        found: dict[bytes, list[Suppression]],
    ) -> dict[str, Suppression]:
        """The recipients that are suppressed now; those whose suppression has run out get this send as a trial.

        One that is not recorded is no trial: nobody would learn whether it failed. `found` has the suppressions of all
        `keys`, and is kept as the store has them.
        """
        new, now = message.new, self.clock()
        newly, on_trial = dict[bytes, Suppression](), list[bytes]()
        for key in {keys[to] for to in new.recipients} & found.keys():
            applying = self._applying(found[key], new.stream)
            in_force = strongest(applying, now)
            if in_force and not self._is_next_try(connection, key, in_force, new):
                newly[key] = in_force
            elif message.track and in_force is None and any(one.tries and one.has_run_out(now) for one in applying):
                on_trial.append(key)
        numbers = addresses.read_numbers(connection, on_trial) if on_trial else {}
        for number, key in sorted((numbers[key], key) for key in on_trial):  # all hosts lock in this order
            in_force = self._try(connection, Address(number, key), new)
            if in_force:
                newly[key] = in_force
        found |= suppressions.read(connection, on_trial)
        return {to: newly[keys[to]] for to in new.recipients if keys[to] in newly}

    def _applying(self, found: Iterable[Suppression], stream: str) -> list[Suppression]:
        transactional = self.ledger.policy.for_stream(stream).transactional
        return [one for one in found if one.applies(stream, transactional=transactional)]

    def _try(self, connection: Connection, address: Address, new: NewSend) -> Suppression | None:
        """A suppression has run out: this send is the trial, and others wait until `heal_after` has passed.

        Suppressions that are returned are in force: another host was quicker.
        """
        now, applying = self.clock(), self._applying(lock(connection, address).suppressions.values(), new.stream)
        in_force = strongest(applying, now)
        scopes = [one.scope for one in applying if one.tries and one.has_run_out(now)]
        if in_force is None and scopes:
            values = {"scopes": scopes, "message_id": new.message_id, "queue_id": new.queue_id}
            detail: dict[str, Any] = clean_values({name: value for name, value in values.items() if value})
            if addresses.is_erased(connection, address.id):
                detail = kept_of_erased(detail)
            self.ledger.write(connection, address, NewFact(now, "trial", address.id, None, new.stream, detail=detail))
        return in_force

    def _is_next_try(self, connection: Connection, key: bytes, in_force: Suppression, new: NewSend) -> bool:
        """Whether this message is the trial itself, which was put off and comes again.

        Nobody tells when the mail server that heard 451 lets it go at last, so it may try until the trial is over.
        """
        if in_force.cause != "trial":
            return False
        number = addresses.find_number(connection, key)
        trial = facts.find_latest_trial(connection, number, in_force.scope) if number is not None else {}
        ours = {"message_id": new.message_id, "queue_id": new.queue_id}
        return any(value and trial.get(name) == value for name, value in clean_values(ours).items())

    def _write_withheld(self, connection: Connection, sorted_out: Sequence[_SortedOut]) -> None:
        """Write a fact about each recipient that is withheld."""
        withheld = [(to, why, one.kept) for one in sorted_out for to, why in one.without.items()]
        numbers = addresses.ensure(connection, self.secret, (to for to, _, _ in withheld))
        erased = addresses.erased(connection, set(numbers.values()))
        news = []
        for address, suppression, new in withheld:
            values = {"cause": clean(suppression.words()), "tag": new.tag, "queue_id": new.queue_id}
            detail: dict[str, Any] = {name: value for name, value in values.items() if value}
            if numbers[address] in erased:
                detail = kept_of_erased(detail)
            news.append(NewFact(self.clock(), "withheld", numbers[address], stream=new.stream, detail=detail))
        facts.write_without_ids(connection, news)
