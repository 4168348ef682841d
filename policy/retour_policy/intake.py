"""Intake: applies a list of suppressions, a few at a time, and once however often it is run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from retour_policy import addresses
from retour_policy.address import address_key
from retour_policy.facts import NewFact
from retour_policy.ledger import Address, Ledger, lock
from retour_policy.lists import Row
from retour_policy.store import Store

CHUNK = 50  # rows a transaction, well under the 100 ms that one may last


@dataclass(frozen=True)
class Intake:
    """What applying needs to know."""

    store: Store
    secret: bytes
    ledger: Ledger
    now: int

    def apply(self, rows: Iterable[Row]) -> Iterator[tuple[int, int]]:
        """Apply the rows; yields after each transaction how many rows were in it, and how many were new."""
        for chunk in _chunks(rows):
            with self.store.writing() as connection:
                yield len(chunk), sum(self._one(connection, row) for row in chunk)

    def _one(self, connection: Connection, row: Row) -> bool:
        key = address_key(self.secret, row.address)
        number = addresses.ensure(connection, self.secret, [row.address])[row.address]
        address, new = Address(number, key), row.new
        there = lock(connection, address).suppressions.get(new.scope)
        if there and (there.cause, there.until) == (new.cause, new.until) and there.since <= new.since:
            return False
        if there and there.in_force(self.now) and there.until is None:
            return False
        detail = {"scope": new.scope, "cause": new.cause, "since": new.since, "until": new.until, "note": new.note}
        self.ledger.write(connection, address, NewFact(self.now, "suppress", number, reason="import", detail=detail))
        return True


def _chunks(rows: Iterable[Row]) -> Iterator[tuple[Row, ...]]:
    iterator = iter(rows)
    while chunk := tuple(itertools.islice(iterator, CHUNK)):
        yield chunk
