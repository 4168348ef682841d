"""Facts: what happened, written once and never changed, and read back in order.

But for three: an erasure takes personal data out of their details, the fact of a surplus counts on, and a rebuild under
the current policy has that one judge them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from sqlalchemy import Connection, Select, bindparam, func, insert, select, tuple_, update

from retour_bounces.report import Kind
from retour_policy.store import schema
from retour_policy.store.database import Store

MAX_FACTS_READ = 1_000  # in one transaction
MAX_PAIRS_READ = 20  # of send and address, in one statement: each of the sends is looked up with each of the addresses
_table = schema.fact
_INSERT = insert(_table)
_INSERT_MANY = insert(_table).returning(_table.c.id, sort_by_parameter_order=True)
KINDS = (
    *get_args(Kind),
    *("unread", "surplus", "withheld", "resent", "suppress", "lift", "trial", "held", "revived", "undone", "carried"),
)
"""Kinds of facts: those of reports, and what Retour, its operator and its storms did."""
_HIDDEN = ("address_id", "policy_id", "named_key", "detail")  # row numbers, and what `to_dict` unpacks
_SAME = (_table.c.send_id == bindparam("of")) & (_table.c.address_id == bindparam("by"))
_SOME = select(_table).where(_table.c.id.in_(bindparam("numbers", expanding=True))).order_by(_table.c.at, _table.c.id)
_JUDGED = ("kind", "type", "reason", "blame", "proof", "stream", "policy_id")
_OF_SEND = (
    select(*(_table.c[name] for name in _JUDGED))
    .where(
        _SAME,
        _table.c.kind.in_(bindparam("kinds", expanding=True)),
        _table.c.id.not_in(bindparam("but", expanding=True)),
    )
    .distinct()
)
_OF_SENDS = (
    select(_table.c.send_id, _table.c.address_id, *(_table.c[name] for name in _JUDGED))
    .where(
        _table.c.send_id.in_(bindparam("sends", expanding=True)),
        _table.c.address_id.in_(bindparam("addresses", expanding=True)),
    )
    .distinct()
)
_SAME_SINCE = (
    (_table.c.send_id == bindparam("of"))
    & _table.c.address_id.is_not_distinct_from(bindparam("by"))
    & (_table.c.at >= bindparam("since"))
)
_SOME_OF_SEND = select(_table.c.id).where(_SAME_SINCE).limit(bindparam("most"))
_COUNT_OF_SEND = select(func.count()).select_from(_SOME_OF_SEND.subquery())
_FIND_OF_SEND = (
    select(_table.c.id, _table.c.detail).where(_SAME_SINCE, _table.c.kind == bindparam("what")).order_by(_table.c.id)
)
_CLAIMS_OF_ADDRESS = (
    select(_table)
    .where(_table.c.address_id == bindparam("number"), _table.c.kind.in_(["unsubscribe", "complaint"]))
    .order_by(_table.c.id)
)
_WRITE_DETAIL = update(_table).where(_table.c.id == bindparam("fact")).values(detail=bindparam("kept"))
_JUDGED_OF_ADDRESSES = (
    select(_table)
    .where(_table.c.address_id.in_(bindparam("numbers", expanding=True)), _table.c.policy_id.is_not(None))
    .order_by(_table.c.at, _table.c.id)
)


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
    """The policy that it is judged by; None if it does not count."""
    named_key: bytes | None = None
    """The key of somebody else at whom the mail failed, as the report names them; None if it names nobody else."""
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
        rest = {name: getattr(self.what, name) for name in NewFact.__slots__ if name not in _HIDDEN}
        values = {"id": self.id, "address": self.address} | rest | self.what.detail
        return {name: value for name, value in values.items() if value not in (None, "", {})}


@dataclass(frozen=True, slots=True)
class FactFilter:
    """Which facts to read; None: any."""

    address_id: int | None = None
    stream: str | None = None
    kind: str | None = None
    since: int | None = None
    limit: int | None = None
    """At most this many, the latest."""
    after: tuple[int, int] | None = None
    """Only those after this time and id."""
    send_id: int | None = None


def write(connection: Connection, new: NewFact) -> int:
    """Write a fact; its id."""
    written = connection.execute(_INSERT, row_of(new)).inserted_primary_key
    return int(written[0]) if written else 0


def write_many(connection: Connection, news: Sequence[NewFact]) -> Sequence[int]:
    """Write facts; their ids in the same order."""
    if len(news) == 1:
        return [write(connection, news[0])]
    if connection.dialect.name == "sqlite":  # it would return ids in no order; but nobody else writes meanwhile
        first = find_last_id(connection) + 1
        numbers = range(first, first + len(news))
        connection.execute(_INSERT, [{"id": number} | row_of(new) for number, new in zip(numbers, news, strict=True)])
        return numbers
    return connection.scalars(_INSERT_MANY, [row_of(new) for new in news]).all()


def row_of(new: NewFact) -> dict[str, Any]:
    """A fact as a row of its table."""
    return {name: getattr(new, name) for name in NewFact.__slots__}


def read_of_send(
    connection: Connection, send_id: int, address_id: int, kinds: Sequence[str], but: Collection[int] = ()
) -> list[NewFact]:
    """What came back of these kinds from one recipient of a send, reduced to what counting needs, without repeats.

    The facts with the numbers in `but` are left out.
    """
    values = {"of": send_id, "by": address_id, "kinds": kinds, "but": sorted(but)}
    rows = connection.execute(_OF_SEND, values)
    return [NewFact(0, **row._mapping) for row in rows]


def read_of_sends(connection: Connection, pairs: Collection[tuple[int, int]]) -> dict[tuple[int, int], list[NewFact]]:
    """What came back from some recipients of sends, each a send and an address: of all kinds, reduced in the same way.

    Those of whom nothing did are missing.
    """
    found: dict[tuple[int, int], list[NewFact]] = {}
    ordered = sorted(pairs)
    for start in range(0, len(ordered), MAX_PAIRS_READ):
        some = ordered[start : start + MAX_PAIRS_READ]
        values = {"sends": sorted({send for send, _ in some}), "addresses": sorted({to for _, to in some})}
        for send, to, *judged in connection.execute(_OF_SENDS, values):
            if (send, to) in pairs:
                found.setdefault((send, to), []).append(NewFact(0, **dict(zip(_JUDGED, judged, strict=True))))
    return {pair: found[pair] for pair in ordered if pair in found}


def is_named_for_another(connection: Connection, key: bytes, address_id: int) -> bool:
    """Whether a failure of another recipient's mail named the address with that key instead of the recipient."""
    others = select(_table.c.id).where(_table.c.named_key == key, _table.c.address_id != address_id).limit(1)
    return connection.scalar(others) is not None


def count_of_send(connection: Connection, send_id: int, address_id: int | None, since: int, most: int) -> int:
    """How many facts about a recipient of a send (or None: about nobody) were recorded since then; at most `most`."""
    values = {"of": send_id, "by": address_id, "since": since, "most": most}
    return connection.scalar(_COUNT_OF_SEND, values) or 0


def find_of_send(connection: Connection, like: NewFact) -> tuple[int, dict[str, Any]] | None:
    """The first fact of the same kind, send and address, recorded at the time of `like` or later: id and detail."""
    values = {"of": like.send_id, "by": like.address_id, "since": like.at, "what": like.kind}
    row = connection.execute(_FIND_OF_SEND, values).first()
    return (row.id, row.detail) if row else None


def write_detail(connection: Connection, number: int, detail: dict[str, Any]) -> None:
    """Replace the detail of a fact."""
    connection.execute(_WRITE_DETAIL, {"fact": number, "kept": detail})


def rejudge(connection: Connection, address_ids: Sequence[int], policy_id: int) -> None:
    """Have that policy judge all facts of some addresses, whichever did before."""
    of_them = _table.c.address_id.in_(address_ids) & _table.c.policy_id.is_not(None)
    connection.execute(update(_table).where(of_them, _table.c.policy_id != policy_id).values(policy_id=policy_id))


def find_latest_trial(connection: Connection, address_id: int, scope: str) -> dict[str, Any]:
    """The detail of the latest trial of the suppression in that scope; empty where there is none."""
    query = select(_table.c.detail).where(_table.c.address_id == address_id, _table.c.kind == "trial")
    details = connection.scalars(query.order_by(_table.c.id.desc())).all()
    return next((detail for detail in details if scope in detail["scopes"]), {})


def read_judged(connection: Connection, numbers: Sequence[int]) -> dict[int, list[tuple[int, NewFact]]]:
    """What counts for some addresses, by their numbers: ids and facts in the order (recorded at, id)."""
    found: dict[int, list[tuple[int, NewFact]]] = {number: [] for number in numbers}
    for row in connection.execute(_JUDGED_OF_ADDRESSES, {"numbers": list(numbers)}):
        found[row.address_id].append((row.id, _what(row)))
    return found


def read_claims(connection: Connection, address_id: int) -> list[tuple[int, NewFact]]:
    """The complaints and unsubscriptions of an address, with their ids."""
    return [(row.id, _what(row)) for row in connection.execute(_CLAIMS_OF_ADDRESS, {"number": address_id})]


def find_last_id(connection: Connection) -> int:
    """The id of the latest fact; 0 where there is none."""
    return connection.scalar(select(func.max(_table.c.id))) or 0


def read_some(connection: Connection, numbers: Sequence[int]) -> list[tuple[int, NewFact]]:
    """Some facts by their ids, as far as they are there."""
    if not numbers:
        return []
    rows = connection.execute(_SOME, {"numbers": list(numbers)})
    return [(row.id, _what(row)) for row in rows]


def read(connection: Connection, wanted: FactFilter) -> list[Fact]:
    """The facts in the order (recorded at, id); with a limit the latest of them, still in that order."""
    query = _query(wanted)
    if wanted.limit is None:
        return [_fact(row) for row in connection.execute(query.order_by(_table.c.at, _table.c.id))]
    latest = connection.execute(query.order_by(_table.c.at.desc(), _table.c.id.desc()).limit(wanted.limit))
    return [_fact(row) for row in latest][::-1]


def iterate(store: Store, wanted: FactFilter) -> Iterator[Fact]:
    """The facts in the order (recorded at, id), whatever their number, without a limit.

    Each chunk has a transaction of its own: one that stayed open while somebody pages through the output would
    keep SQLite from ever writing its log back into the database.
    """
    while True:
        with store.reading() as connection:
            rows = connection.execute(_query(wanted).order_by(_table.c.at, _table.c.id).limit(MAX_FACTS_READ))
            chunk = [_fact(row) for row in rows]
        yield from chunk
        if len(chunk) < MAX_FACTS_READ:
            return
        wanted = replace(wanted, after=(chunk[-1].what.at, chunk[-1].id))


def _query(wanted: FactFilter) -> Select[Any]:
    query = select(_table, schema.address.c.text).outerjoin(schema.address, schema.address.c.id == _table.c.address_id)
    for column, value in (
        (_table.c.address_id, wanted.address_id),
        (_table.c.stream, wanted.stream),
        (_table.c.kind, wanted.kind),
        (_table.c.send_id, wanted.send_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.since is not None:
        query = query.where(_table.c.at >= wanted.since)
    if wanted.after is not None:
        query = query.where(tuple_(_table.c.at, _table.c.id) > wanted.after)
    return query


def _fact(row: Any) -> Fact:
    return Fact(row.id, row.text, _what(row))


def _what(row: Any) -> NewFact:
    return NewFact(**{name: getattr(row, name) for name in NewFact.__slots__})


def write_without_ids(connection: Connection, news: Sequence[NewFact]) -> None:
    """Write facts whose ids nobody needs."""
    if news:
        connection.execute(_INSERT, [row_of(new) for new in news])


def read_after(connection: Connection, last: int) -> list[Fact]:
    """The facts with ids above `last`, in the order in which they were written."""
    found = _query(FactFilter()).where(_table.c.id > last).order_by(_table.c.id)
    return [_fact(row) for row in connection.execute(found)]


def read_address_ids(connection: Connection, after: int) -> list[int]:
    """The numbers of the addresses that facts with ids above `after` are about, in order."""
    written = select(_table.c.address_id).where(_table.c.id > after, _table.c.address_id.is_not(None))
    return sorted(set(connection.scalars(written)))


def failed_attempts(connection: Connection, send_id: int, address_id: int | None, kind: str) -> list[int]:
    """Which attempts of a send failed at one recipient, by facts of that kind; 0 is the first."""
    same = select(_table.c.detail).where(
        _table.c.send_id == send_id,
        _table.c.address_id == address_id,
        _table.c.kind == kind,
        _table.c.action == "failed",
    )
    return [detail.get("resend", 0) for detail in connection.scalars(same)]
