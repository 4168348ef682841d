"""Outgoing: records a message that is about to be sent: who gets it, who is withheld, and which send is a trial."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
from retour_policy.store import addresses, facts, sends, suppressions
from retour_policy.store.addresses import Address
from retour_policy.store.facts import NewFact
from retour_policy.store.sends import NewSend


@dataclass(frozen=True, slots=True)
class RecordedSend:
    """What was recorded."""

    send: int
    newly_suppressed: Mapping[str, Suppression]
    """Recipients that were suppressed between RCPT and now, or whose trial is in progress."""


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
        """Write the send, its trials, and the recipients that are withheld.

        With `watch` the suppressions are read again, under the lock of the transaction.
        """
        newly, kept = self._sorted_out(connection, new, withheld, track=track, watch=watch)
        if not track or not kept.recipients:
            return RecordedSend(self.draw(), newly)
        self._count(connection, kept)
        return RecordedSend(sends.record(connection, self.secret, kept, self.draw), newly)

    def record_part(
        self,
        connection: Connection,
        number: int | None,
        part: NewSend,
        withheld: Mapping[str, Suppression],
        *,
        track: bool,
        watch: bool,
    ) -> RecordedSend:
        """The same for some recipients of a message that has very many, in a short transaction of its own.

        `number` is that of the send, None in the first part. Until `complete` is called, nobody has got the message.
        """
        newly, kept = self._sorted_out(connection, part, withheld, track=track, watch=watch)
        if not track:
            return RecordedSend(self.draw() if number is None else number, newly)
        if number is None:
            number = sends.begin(connection, kept, self.draw)
        sends.add_portion(connection, self.secret, number, kept)
        self._count(connection, kept)
        return RecordedSend(number, newly)

    def complete(self, connection: Connection, number: int) -> None:
        """All parts of that send are recorded, and it goes out."""
        sends.complete(connection, number)

    def _sorted_out(
        self, connection: Connection, new: NewSend, withheld: Mapping[str, Suppression], *, track: bool, watch: bool
    ) -> tuple[dict[str, Suppression], NewSend]:
        """Who turned out to be suppressed, and what is left of the message. What is withheld is written."""
        newly = self._newly_suppressed(connection, new, track=track) if watch else {}
        without = {**withheld, **newly}
        self._write_withheld(connection, new, without)
        left = tuple(one for one in new.recipients if one not in newly)
        judged_after = self.ledger.policy.for_stream(new.stream).rules.heal_after
        return newly, replace(new, recipients=left, withheld=tuple(without), judged_after=judged_after)

    def _count(self, connection: Connection, kept: NewSend) -> None:
        heard = [one for one in kept.recipients if one not in kept.unheard]
        self.storms.count_sent(connection, kept.stream, heard, self.clock())

    def _newly_suppressed(self, connection: Connection, new: NewSend, *, track: bool) -> dict[str, Suppression]:
        """The recipients that are suppressed now; those whose suppression has run out get this send as a trial.

        One that is not recorded is no trial: nobody would learn whether it failed.
        """
        by_key: dict[bytes, list[str]] = {}
        for recipient in new.recipients:
            by_key.setdefault(address_key(self.secret, recipient), []).append(recipient)
        newly, on_trial = dict[bytes, Suppression](), list[bytes]()
        for key, found in suppressions.read(connection, by_key).items():
            applying = self._applying(found, new.stream)
            now = self.clock()
            in_force = strongest(applying, now)
            if in_force and not self._is_next_try(connection, key, in_force, new):
                newly[key] = in_force
            elif track and in_force is None and any(one.tries and one.has_run_out(now) for one in applying):
                on_trial.append(key)
        numbers = addresses.read_numbers(connection, on_trial)
        for number, key in sorted((numbers[key], key) for key in on_trial):  # all hosts lock in this order
            in_force = self._try(connection, Address(number, key), new)
            if in_force:
                newly[key] = in_force
        return {recipient: newly[key] for key, texts in by_key.items() if key in newly for recipient in texts}

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
        trial = facts.find_latest_detail(connection, number, "trial") if number is not None else {}
        ours = {"message_id": new.message_id, "queue_id": new.queue_id}
        return any(value and trial.get(name) == value for name, value in clean_values(ours).items())

    def _write_withheld(self, connection: Connection, new: NewSend, withheld: Mapping[str, Suppression]) -> None:
        """Write a fact about each recipient that is withheld."""
        numbers = addresses.ensure(connection, self.secret, withheld)
        erased = addresses.erased(connection, numbers.values())
        news = []
        for address, suppression in withheld.items():
            values = {"cause": clean(suppression.words()), "tag": new.tag, "queue_id": new.queue_id}
            detail: dict[str, Any] = {name: value for name, value in values.items() if value}
            if numbers[address] in erased:
                detail = kept_of_erased(detail)
            news.append(NewFact(self.clock(), "withheld", numbers[address], stream=new.stream, detail=detail))
        facts.write_without_ids(connection, news)
