"""Intake: applies a list of suppressions, a few at a time, once however often it is run, and never to free anybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from retour_policy import addresses
from retour_policy.address import address_key
from retour_policy.facts import NewFact
from retour_policy.ledger import Address, Ledger, lock
from retour_policy.lists import Row
from retour_policy.portions import in_portions
from retour_policy.store import Store
from retour_policy.suppression import Suppression

FEW = 5  # rows together


@dataclass(frozen=True)
class Intake:
    """What applying needs to know."""

    store: Store
    secret: bytes
    ledger: Ledger
    now: int

    def apply(self, rows: Iterable[Row]) -> Iterator[tuple[int, int]]:
        """Apply the rows; yields after each transaction how many rows were in it, and how many were new.

        Whoever takes what is yielded may dawdle: no transaction is open then.
        """
        yield from in_portions(self.store, rows, FEW, self._some)

    def _some(self, connection: Connection, rows: Sequence[Row]) -> int:
        return sum(self._one(connection, row) for row in rows)

    def _one(self, connection: Connection, row: Row) -> bool:
        key = address_key(self.secret, row.address)
        number = addresses.ensure(connection, self.secret, [row.address])[row.address]
        address, new = Address(number, key), row.new
        there = lock(connection, address).suppressions.get(new.scope)
        if not new.in_force(self.now) or (there and _lasts_as_long(there, new)):
            return False
        note = "" if addresses.is_forgotten(connection, number) else new.note  # it may name the person
        detail = {"scope": new.scope, "cause": new.cause, "since": new.since, "until": new.until, "note": note}
        self.ledger.write(connection, address, NewFact(self.now, "suppress", number, reason="import", detail=detail))
        return True


def _lasts_as_long(there: Suppression, new: Suppression) -> bool:
    return there.until is None or (new.until is not None and there.until >= new.until)
