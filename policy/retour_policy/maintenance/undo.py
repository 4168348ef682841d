"""Undo: takes back what the failures of an outage did, if it was noticed late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from retour_policy.address import domain_of
from retour_policy.ledger.ledger import Ledger
from retour_policy.store.addresses import Address
from retour_policy.store.batches import in_batches
from retour_policy.store.database import Store
from retour_policy.store.facts import NewFact
from retour_policy.store.failures import Failure, read_recorded, read_undone


@dataclass(frozen=True, slots=True)
class Window:
    """Which failures: recorded from `since` until `until` (milliseconds), of recipients in one of `domains`."""

    since: int
    until: int
    domains: frozenset[str]
    """In lower case; empty for all."""


def failures(store: Store, window: Window) -> list[Failure]:
    """The failures in the window that are not undone yet."""
    with store.reading() as connection:
        recorded = read_recorded(connection, window.since, window.until)
        found = [one for one in recorded if not window.domains or (one.text and domain_of(one.text) in window.domains)]
        undone = read_undone(connection, sorted({one.address.id for one in found}))
    return [one for one in found if one.fact not in undone]


def undo(store: Store, ledger: Ledger, found: list[Failure], now: int, note: str) -> Iterator[int]:
    """Undo these failures, in short transactions; yields how many addresses were changed so far."""
    by_address: dict[Address, list[int]] = {}
    for one in found:
        by_address.setdefault(one.address, []).append(one.fact)

    def work(connection: Connection, batch: Sequence[tuple[Address, list[int]]]) -> int:
        for address, numbers in batch:
            detail = {"facts": numbers, "note": note}
            ledger.write(connection, address, NewFact(now, "undone", address.id, detail=detail))
        return len(batch)

    changed = 0
    for count, _ in in_batches(store, by_address.items(), 1, work):
        changed += count
        yield changed
