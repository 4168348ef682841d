"""Outgoing: records a message that is about to be sent: who gets it, who is withheld, and which send is a trial."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from retour_policy.address import address_key
from retour_policy.clock import Clock
from retour_policy.core.erased import kept_of_erased
from retour_policy.core.suppression import Suppression, longest
from retour_policy.ledger.accounts import lock
from retour_policy.ledger.ledger import Ledger
from retour_policy.ledger.storms import Storms
from retour_policy.sanitize import clean
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
        newly = self._newly_suppressed(connection, new, track=track) if watch else {}
        kept = replace(new, recipients=tuple(one for one in new.recipients if one not in newly))
        self._write_withheld(connection, new, {**withheld, **newly})
        if not track or not kept.recipients:
            return RecordedSend(self.draw(), newly)
        self.storms.count_sent(connection, kept.stream, kept.recipients, self.clock())
        return RecordedSend(sends.record(connection, self.secret, kept, self.draw), newly)

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
            in_force = longest(applying, self.clock())
            if in_force:
                newly[key] = in_force
            elif track and any(one.tries for one in applying):
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
        in_force = longest(applying, now)
        scopes = [one.scope for one in applying if one.tries]
        if in_force is None and scopes:
            trial = NewFact(now, "trial", address.id, None, new.stream, detail={"scopes": scopes})
            self.ledger.write(connection, address, trial)
        return in_force

    def _write_withheld(self, connection: Connection, new: NewSend, withheld: Mapping[str, Suppression]) -> None:
        """Write a fact about each recipient that is withheld."""
        numbers = addresses.ensure(connection, self.secret, withheld)
        for address, suppression in withheld.items():
            values = {"cause": clean(suppression.words()), "tag": new.tag, "queue_id": new.queue_id}
            detail: dict[str, Any] = {name: value for name, value in values.items() if value}
            if addresses.is_erased(connection, numbers[address]):
                detail = kept_of_erased(detail)
            fact = NewFact(self.clock(), "withheld", numbers[address], stream=new.stream, detail=detail)
            facts.write(connection, fact)
