"""Suppression import: applies the rows of a file; repeating it changes nothing, and it lifts no suppression."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from retour_policy.address import address_key
from retour_policy.core.fold import Account
from retour_policy.core.suppression import Suppression
from retour_policy.ledger.accounts import lock_all
from retour_policy.ledger.ledger import Ledger, Posting
from retour_policy.maintenance.suppression_files import Row
from retour_policy.store import addresses
from retour_policy.store.addresses import Address
from retour_policy.store.batches import in_batches
from retour_policy.store.database import Store
from retour_policy.store.facts import NewFact

MAX_ROWS_APPLIED = 50  # at a time; a short transaction takes several times as many


@dataclass(frozen=True)
class SuppressionImport:
    """What applying needs to know."""

    store: Store
    secret: bytes
    ledger: Ledger
    now: int

    def apply(self, rows: Iterable[Row]) -> Iterator[tuple[int, int]]:
        """Apply the rows; yields after each transaction how many rows were in it, and how many were new.

        No transaction is open while the caller handles what is yielded. Raises `StoreUnavailable`.
        """
        yield from in_batches(self.store, rows, MAX_ROWS_APPLIED, self._apply)

    def _apply(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Apply some rows; if an address is in several, they are applied one after the other."""
        fresh = 0
        while rows:
            of_each = {address_key(self.secret, row.address): row for row in reversed(rows)}  # the first row for it
            fresh += self._apply_one_of_each(connection, of_each)
            taken = set(map(id, of_each.values()))
            rows = [row for row in rows if id(row) not in taken]
        return fresh

    def _apply_one_of_each(self, connection: Connection, rows: Mapping[bytes, Row]) -> int:
        numbers = addresses.ensure(connection, self.secret, [row.address for row in rows.values()])
        found = {Address(numbers[row.address], key): row.new for key, row in rows.items()}
        accounts = lock_all(connection, list(found))
        new = {one: new for one, new in found.items() if self._is_news(accounts[one.id], new)}
        if new:
            erased = addresses.erased(connection, [one.id for one in new])
            facts = [(one, self._fact(one, of, named=one.id not in erased)) for one, of in new.items()]
            self.ledger.write_all(connection, [Posting(one, fact, accounts[one.id]) for one, fact in facts])
        return len(new)

    def _is_news(self, account: Account, new: Suppression) -> bool:
        there = account.suppressions.get(new.scope)
        return new.in_force(self.now) and not (there and _lasts_as_long(there, new))

    def _fact(self, address: Address, new: Suppression, *, named: bool) -> NewFact:
        note = new.note if named else ""  # of an erased person it may contain the name
        detail = {"scope": new.scope, "cause": new.cause, "since": new.since, "until": new.until, "note": note}
        return NewFact(self.now, "suppress", address.id, reason="import", detail=detail)


def _lasts_as_long(there: Suppression, new: Suppression) -> bool:
    return there.until is None or (new.until is not None and there.until >= new.until)
