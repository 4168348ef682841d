"""Mentions: rows that are not about an address but may mention it, searched, read and rewritten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Table,
    Text,
    and_,
    cast,
    delete,
    func,
    or_,
    select,
    true,
    update,
)

from retour_policy.store import schema
from retour_policy.store.database import Store

MAX_ROWS_READ = 10_000  # in one transaction
MAX_EVENTS_READ = 1_000  # in one transaction
MAX_MESSAGES_READ = 50  # in one transaction, and rows of any table in memory
SEND_HEADERS = ("message_id", "tag", "queue_id")
"""Columns of a send that come from its message, if it had them."""
_fact, _send, _outbox, _unread = schema.fact, schema.send, schema.outbox, schema.unread
_suppression = schema.suppression

Needles = Sequence[Sequence[str]]
"""ASCII texts: everything that mentions the address contains one of each list, in any case."""


@dataclass(frozen=True)
class SearchedRows:
    """Rows of a table, in the order of their key, and which of them the database itself can filter out."""

    table: Table
    key: Column[int]
    may_mention: Callable[[Needles], ColumnElement[bool]]
    max_rows: int = MAX_ROWS_READ

    def iterate_keys(
        self, store: Store, needles: Needles, is_mentioned_in: Callable[[Any], bool]
    ) -> Iterator[list[int]]:
        """The keys of those rows for which `is_mentioned_in` is true, in chunks, each read in its own transaction.

        No lock is held while rows are examined. Raises `StoreUnavailable`.
        """
        last = -1
        while True:
            with store.reading() as connection:
                chunk = select(self.key).where(self.key > last).order_by(self.key).limit(self.max_rows).subquery()
                end = connection.scalar(select(func.max(chunk.c[0])))
                if end is None:
                    return
                here = select(self.table).where(self.key > last, self.key <= end, self.may_mention(needles))
                rows = connection.execute(here).yield_per(MAX_MESSAGES_READ)
                found = {row._mapping[self.key]: None for row in rows if is_mentioned_in(row)}
            yield list(found)
            last = end


def _in_columns(*texts: ColumnElement[Any]) -> Callable[[Needles], ColumnElement[bool]]:
    """One of the columns contains a needle of each list."""

    def may_mention(needles: Needles) -> ColumnElement[bool]:
        return or_(*(_holds(text, needles) for text in texts))

    return may_mention


def _holds(text: ColumnElement[Any], needles: Needles) -> ColumnElement[bool]:
    return and_(*(or_(*(text.ilike(f"%{needle}%") for needle in one_of)) for one_of in needles))


FACTS = SearchedRows(_fact, _fact.c.id, _in_columns(cast(_fact.c.detail, Text)))
SUPPRESSIONS = SearchedRows(_suppression, _suppression.c.address_id, _in_columns(_suppression.c.note))
SENDS = SearchedRows(_send, _send.c.id, _in_columns(_send.c.sender, *(_send.c[name] for name in SEND_HEADERS)))
EVENTS = SearchedRows(_outbox, _outbox.c.id, lambda _: _outbox.c.kind != "forward", MAX_EVENTS_READ)
FORWARDS = SearchedRows(_outbox, _outbox.c.id, lambda _: _outbox.c.kind == "forward", MAX_MESSAGES_READ)
ERRORS = SearchedRows(_outbox, _outbox.c.id, _in_columns(_outbox.c.error))
UNREAD = SearchedRows(_unread, _unread.c.fact_id, lambda _: true(), MAX_MESSAGES_READ)


def find_fact(connection: Connection, number: int) -> Any:
    """A fact's `address_id` and `detail`; None: it was deleted."""
    return connection.execute(select(_fact.c.address_id, _fact.c.detail).where(_fact.c.id == number)).first()


def write_fact(connection: Connection, number: int, detail: Mapping[str, Any]) -> None:
    """Replace the detail of a fact."""
    connection.execute(update(_fact).where(_fact.c.id == number).values(detail=detail))


def find_send(connection: Connection, number: int) -> Any:
    """A send's row; None: it was deleted."""
    return connection.execute(select(_send).where(_send.c.id == number)).first()


def write_send(connection: Connection, number: int, values: Mapping[str, str | None]) -> None:
    """Replace values of a send, by the names of columns."""
    connection.execute(update(_send).where(_send.c.id == number).values(values))


def find_body(connection: Connection, number: int) -> bytes:
    """The body of an item in the outbox; empty if it was deleted."""
    return bytes(connection.scalar(select(_outbox.c.body).where(_outbox.c.id == number)) or b"")


def write_body(connection: Connection, number: int, body: bytes) -> None:
    """Replace the body of an item."""
    connection.execute(update(_outbox).where(_outbox.c.id == number).values(body=body))


def find_error(connection: Connection, number: int) -> str:
    """The last error of an item in the outbox; empty if it had none or was deleted."""
    return connection.scalar(select(_outbox.c.error).where(_outbox.c.id == number)) or ""


def write_error(connection: Connection, number: int, error: str) -> None:
    """Replace the error of an item."""
    connection.execute(update(_outbox).where(_outbox.c.id == number).values(error=error))


def delete_forward(connection: Connection, number: int) -> bool:
    """Delete a message that waits to be forwarded; whether it existed."""
    waiting = delete(_outbox).where(_outbox.c.id == number, _outbox.c.kind == "forward")
    return connection.execute(waiting).rowcount > 0


def delete_unread(connection: Connection, number: int) -> bool:
    """Delete what was kept of a report that could not be read, by the number of its fact; whether it existed."""
    return connection.execute(delete(_unread).where(_unread.c.fact_id == number)).rowcount > 0
