"""Erasure: what is about a person goes in a few statements, none of which reads all that others wait for."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from retour_policy.erasure.erase import erase
from retour_policy.maintenance.rebuild import differences
from retour_policy.store.addresses import Address
from retour_policy.store.facts import NewFact

ANN, BOB = "ann.lee@example.net", "bob@example.net"
INDEXES = ("fact_id", "ordering")
SCANNED = ("SCAN outbox", "SCAN send", "SCAN fact", "SCAN unread")


def indexed(book: Any) -> None:
    with book.store.writing() as connection:
        for column in INDEXES:
            name = f"outbox_by_{column.removesuffix('_id')}"
            there = f"outbox ({column}) WHERE {column} IS NOT NULL"
            connection.exec_driver_sql(f"CREATE INDEX IF NOT EXISTS {name} ON {there}")


def erased(book: Any, name: str) -> list[tuple[str, Any]]:
    """The statements that it takes, with their parameters."""
    told, engine = list[tuple[str, Any]](), book.store._writer

    def listen(_: Any, __: Any, statement: str, parameters: Any, *rest: Any) -> None:
        told.append((statement, parameters[0] if isinstance(parameters, list) else parameters))

    event.listen(engine, "before_cursor_execute", listen)
    with book.store.writing() as connection:
        erase(connection, Address(book.number(name), book.recorder.matcher.key(name)))
    event.remove(engine, "before_cursor_execute", listen)
    return told


def bounced(book: Any, hard: Any, name: str, times: int) -> None:
    for _ in range(times):
        book.back(book.send(name), hard(name))
    book.back(book.send(name), None)


def test_the_number_of_statements_does_not_grow_with_the_facts(book: Any, hard: Any) -> None:
    """Of somebody with thirty bounces as many as of somebody with three."""
    bounced(book, hard, ANN, 3)
    bounced(book, hard, BOB, 30)
    assert len(erased(book, BOB)) == len(erased(book, ANN))


@pytest.mark.sqlite
def test_no_statement_reads_what_others_wait_for(book: Any, hard: Any) -> None:
    """The outbox may hold hundreds of thousands of events, the store millions of sends."""
    indexed(book)
    bounced(book, hard, ANN, 3)
    plans = list[str]()
    for statement, parameters in erased(book, ANN):
        with book.store.reading() as connection:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans += [row.detail for row in rows]
    assert not [plan for plan in plans if plan in SCANNED]
    for name in ("outbox_by_fact", "outbox_by_ordering", "send_resent"):
        assert any(f"{name} " in plan for plan in plans), plans


def test_a_history_is_folded_only_where_a_note_goes(book: Any, hard: Any) -> None:
    """Of somebody with thousands of bounces that alone would hold up all others; the note of a bounce stays."""
    bounced(book, hard, ANN, 3)
    assert not [one for one, _ in erased(book, ANN) if "fact.address_id IN" in one]
    assert book.suppressed(ANN).note == "5.1.1 userunknown"


def test_the_postmasters_note_is_erased(book: Any, hard: Any) -> None:
    """The suppression stays."""
    bounced(book, hard, ANN, 1)
    number, key = book.number(ANN), book.recorder.matcher.key(ANN)
    new = NewFact(book.now, "suppress", number, detail={"scope": "*", "note": "phoned"})
    with book.store.writing() as connection:
        book.recorder.ledger.write(connection, Address(number, key), new)
    assert book.suppressed(ANN).note == "phoned"
    erased(book, ANN)
    assert (book.suppressed(ANN).cause, book.suppressed(ANN).note) == ("operator", "")
    assert list(differences(book.store)) == []
