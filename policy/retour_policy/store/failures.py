"""Failures: of the facts those that a storm or an operator may take back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, or_, select

from retour_policy.clock import DAY
from retour_policy.store import schema
from retour_policy.store.addresses import MAX_PARAMETERS, Address
from retour_policy.store.storms import Storm

_fact, _address = schema.fact, schema.address


@dataclass(frozen=True, slots=True)
class Failure:
    """A fact that mail to an address failed."""

    fact: int
    address: Address
    text: str | None
    """None: erased."""


def read_recorded(connection: Connection, since: int, until: int) -> list[Failure]:
    """The failures recorded from `since` until `until` (milliseconds) that count for their addresses, by address."""
    query = (
        select(_fact.c.id, _address.c.id, _address.c.key, _address.c.text)
        .join(_address, _address.c.id == _fact.c.address_id)
        .where(_fact.c.at >= since, _fact.c.at < until, _fact.c.action == "failed")
        .where(_fact.c.policy_id.is_not(None))
        .order_by(_address.c.id, _fact.c.id)
    )
    return [Failure(fact, Address(number, bytes(key)), text) for fact, number, key, text in connection.execute(query)]


def read_undone(connection: Connection, numbers: Sequence[int]) -> set[int]:
    """The facts of these addresses that are undone already. What a storm holds, or once held, can be undone too."""
    undone: set[int] = set()
    for start in range(0, len(numbers), MAX_PARAMETERS):
        chunk = _fact.c.address_id.in_(numbers[start : start + MAX_PARAMETERS])
        details = connection.scalars(select(_fact.c.detail).where(chunk, _fact.c.kind == "undone"))
        undone.update(number for detail in details for number in detail["facts"])
    return undone


def read_addresses_of_storm(connection: Connection, storm: Storm) -> list[int]:
    """The numbers of the addresses that a storm may hold failures of, in order.

    They are found by the facts of its time, without reading all states.
    """
    marks = or_(_fact.c.kind == "held", and_(_fact.c.kind == "bounce", _fact.c.action == "failed"))
    after = [_fact.c.at <= storm.closed + DAY] if storm.closed else []  # clocks of two hosts may differ
    query = select(_fact.c.address_id).where(
        _fact.c.at >= storm.opened, *after, marks, _fact.c.stream == storm.stream, _fact.c.address_id.is_not(None)
    )
    return sorted(set(connection.scalars(query)))
