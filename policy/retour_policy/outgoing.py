"""Outgoing: records a message that is about to go out: who gets it, who is left out, and which send is a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from retour_policy import addresses, facts, sends, suppressions
from retour_policy.address import address_key
from retour_policy.clean import clean
from retour_policy.clock import Clock
from retour_policy.facts import NewFact
from retour_policy.ledger import Address, Ledger
from retour_policy.sends import NewSend
from retour_policy.storms import Storms
from retour_policy.suppression import Suppression


@dataclass(frozen=True, slots=True)
class Gone:
    """What was recorded."""

    send: int
    late: Mapping[str, Suppression]
    """Recipients that were suppressed between RCPT and now, or whose one trial is under way."""


@dataclass(frozen=True)
class Outgoing:
    """What recording outgoing mail needs to know."""

    secret: bytes
    ledger: Ledger
    storms: Storms
    clock: Clock
    draw: Callable[[], int]

    def record(
        self, connection: Connection, new: NewSend, withheld: Mapping[str, Suppression], *, track: bool, watch: bool
    ) -> Gone:
        """Write the send, its trials, and who is left out of it.

        With `watch` the recipients are looked up once more, under the lock of the transaction.
        """
        late = self._late(connection, new) if watch else {}
        kept = replace(new, recipients=tuple(one for one in new.recipients if one not in late))
        self._left_out(connection, new, {**withheld, **late})
        if not track or not kept.recipients:
            return Gone(self.draw(), late)
        self.storms.count_sent(connection, kept.stream, kept.recipients, self.clock())
        return Gone(sends.record(connection, self.secret, kept, self.draw), late)

    def _late(self, connection: Connection, new: NewSend) -> dict[str, Suppression]:
        by_key = {address_key(self.secret, one): one for one in new.recipients}
        now, late = self.clock(), {}
        transactional = self.ledger.policy.ground(new.stream).transactional
        for key, found in suppressions.of_addresses(connection, by_key).items():
            about = [one for one in found if suppressions.applies(one, new.stream, transactional=transactional)]
            in_force = next((one for one in about if one.in_force(now)), None)
            if in_force:
                late[by_key[key]] = in_force
            else:
                self._try(connection, key, new, [one.scope for one in about if one.tries], now)
        return late

    def _try(self, connection: Connection, key: bytes, new: NewSend, scopes: list[str], now: int) -> None:
        """Its suppression has run out: this send tries, and others wait until it has had its time."""
        if not scopes:
            return
        number = addresses.find(connection, [key])[key]
        detail = {"scopes": scopes}
        self.ledger.write(
            connection, Address(number, key), NewFact(now, "trial", number, None, new.stream, detail=detail)
        )

    def _left_out(self, connection: Connection, new: NewSend, withheld: Mapping[str, Suppression]) -> None:
        numbers = addresses.ensure(connection, self.secret, withheld)
        for address, found in withheld.items():
            detail = {"cause": clean(found.words()), "tag": new.tag, "queue_id": new.queue_id}
            known = {name: value for name, value in detail.items() if value}
            facts.write(
                connection, NewFact(self.clock(), "withheld", numbers[address], stream=new.stream, detail=known)
            )
