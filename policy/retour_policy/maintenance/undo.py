"""Undoing: takes back what the failures of an outage did that was noticed late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from retour_policy.address import domain_of
from retour_policy.ledger.ledger import Ledger
from retour_policy.store import schema
from retour_policy.store.addresses import MOST_PARAMETERS, Address
from retour_policy.store.batches import in_batches
from retour_policy.store.database import Store
from retour_policy.store.facts import NewFact

_fact, _address = schema.fact, schema.address


@dataclass(frozen=True, slots=True)
class Window:
    """Which failures: recorded from `since` until `until` (milliseconds), of recipients in one of `domains`."""

    since: int
    until: int
    domains: frozenset[str]
    """In lower case; empty for all."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure in a window."""

    fact: int
    address: Address
    text: str | None


def failures(store: Store, window: Window) -> list[Failure]:
    """The failures in the window that are not passed over yet."""
    query = (
        select(_fact.c.id, _address.c.id, _address.c.key, _address.c.text)
        .join(_address, _address.c.id == _fact.c.address_id)
        .where(_fact.c.at >= window.since, _fact.c.at < window.until, _fact.c.action == "failed")
        .where(_fact.c.policy_id.is_not(None))
        .order_by(_address.c.id, _fact.c.id)
    )
    with store.reading() as connection:
        rows = [Failure(fact, Address(n, bytes(key)), text) for fact, n, key, text in connection.execute(query)]
        found = [one for one in rows if not window.domains or (one.text and domain_of(one.text) in window.domains)]
        done = _undone(connection, sorted({one.address.id for one in found}))
    return [one for one in found if one.fact not in done]


def undo(store: Store, ledger: Ledger, found: list[Failure], now: int, note: str) -> Iterator[int]:
    """Pass over these failures, in short transactions; yields how many addresses were changed so far."""
    by_address: dict[Address, list[int]] = {}
    for one in found:
        by_address.setdefault(one.address, []).append(one.fact)

    def work(connection: Connection, some: Sequence[tuple[Address, list[int]]]) -> int:
        for address, numbers in some:
            detail = {"facts": numbers, "note": note}
            ledger.write(connection, address, NewFact(now, "undone", address.id, detail=detail))
        return len(some)

    reached = 0
    for done, _ in in_batches(store, by_address.items(), 1, work):
        reached += done
        yield reached


def _undone(connection: Connection, numbers: list[int]) -> set[int]:
    """The facts of these addresses that are undone already. What a storm holds, or held once, can be undone too."""
    done: set[int] = set()
    for start in range(0, len(numbers), MOST_PARAMETERS):
        chunk = _fact.c.address_id.in_(numbers[start : start + MOST_PARAMETERS])
        details = connection.scalars(select(_fact.c.detail).where(chunk, _fact.c.kind == "undone"))
        done.update(number for detail in details for number in detail["facts"])
    return done
