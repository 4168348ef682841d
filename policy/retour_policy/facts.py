"""Facts: what happened, written once and never changed, and read back in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select

from retour_policy import schema

_table = schema.fact
_INSERT = insert(_table)
_COUNTED = (
    select(_table.c.id)
    .where(_table.c.send_id == bindparam("send"), _table.c.address_id == bindparam("address"))
    .where(_table.c.kind == bindparam("kind"))
    .limit(1)
)
HIDDEN = ("address_id", "policy_id", "detail")  # numbers of rows, and what is laid open beside the rest


@dataclass(frozen=True, slots=True)
class NewFact:
    """Something that happened, to be written."""

    at: int
    kind: str
    address_id: int | None = None
    send_id: int | None = None
    stream: str | None = None
    action: str | None = None
    type: str | None = None
    status: str | None = None
    reason: str | None = None
    blame: str | None = None
    proof: str | None = None
    policy_id: int | None = None
    """The policy that it is judged by; None where it counts for nobody."""
    detail: dict[str, Any] = field(default_factory=dict)
    """The rest, by name; values that JSON can hold."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened, as the store has it."""

    id: int
    address: str | None
    what: NewFact

    def to_dict(self) -> dict[str, Any]:
        """The fact as plain values, without those that are empty."""
        rest = {name: getattr(self.what, name) for name in NewFact.__slots__ if name not in HIDDEN}
        values = {"id": self.id, "address": self.address} | rest | self.what.detail
        return {name: value for name, value in values.items() if value not in (None, "", {})}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which facts to read; None is any."""

    address_id: int | None = None
    stream: str | None = None
    kind: str | None = None
    since: int | None = None
    limit: int | None = None


def write(connection: Connection, new: NewFact) -> int:
    """Write a fact; its id."""
    row = {name: getattr(new, name) for name in NewFact.__slots__}
    written = connection.execute(_INSERT, row).inserted_primary_key
    return int(written[0]) if written else 0


def counted_before(connection: Connection, send_id: int, address_id: int, kind: str) -> bool:
    """Whether a failure (kind bounce) or an auto-reply of this send by this address is recorded already."""
    names = {"send": send_id, "address": address_id, "kind": kind}
    return connection.scalar(_COUNTED, names) is not None


def read(connection: Connection, wanted: Wanted) -> Iterator[Fact]:
    """The facts in the order (recorded at, id); with a limit the latest of them, still in that order."""
    query = select(_table, schema.address.c.text).outerjoin(schema.address, schema.address.c.id == _table.c.address_id)
    for column, value in (
        (_table.c.address_id, wanted.address_id),
        (_table.c.stream, wanted.stream),
        (_table.c.kind, wanted.kind),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.since is not None:
        query = query.where(_table.c.at >= wanted.since)
    if wanted.limit is None:
        rows = connection.execute(query.order_by(_table.c.at, _table.c.id).execution_options(yield_per=1000))
        yield from map(_fact, rows)
        return
    latest = connection.execute(query.order_by(_table.c.at.desc(), _table.c.id.desc()).limit(wanted.limit))
    yield from reversed([_fact(row) for row in latest])


def _fact(row: Any) -> Fact:
    return Fact(row.id, row.text, NewFact(**{name: getattr(row, name) for name in NewFact.__slots__}))
