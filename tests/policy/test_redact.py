"""Redacting: what is about others loses the erased address, and nobody waits for the search."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event, select, text

from retour_policy.erasure.matcher import ERASED, AddressMatcher
from retour_policy.erasure.redact import redact_mentions
from retour_policy.ledger.ledger import Ledger
from retour_policy.maintenance.rebuild import differences
from retour_policy.outbox import queue
from retour_policy.store import batches, schema
from retour_policy.store.addresses import Address
from retour_policy.store.database import Store
from retour_policy.store.facts import NewFact
from retour_policy.store.outbox import NewItem

ANN, BOB = "ann.lee@example.net", "bob@example.net"
PERSON = AddressMatcher(ANN)


def put(book: Any, body: bytes, kind: str = "event", error: str = "") -> int:
    with book.store.writing() as connection:
        return queue.put(connection, NewItem(book.now, kind, "hook:all", "bounce.hard", body, error=error))


def items(book: Any) -> list[tuple[bytes, str]]:
    """Bodies and errors of what is in the outbox."""
    with book.store.reading() as connection:
        rows = connection.execute(select(schema.outbox.c.body, schema.outbox.c.error).order_by(schema.outbox.c.id))
        return [(bytes(body), error) for body, error in rows]


def test_nothing_is_written_where_nobody_mentions_the_person(book: Any, hard: Any) -> None:
    """However much waits to be told and forwarded: no transaction, so that no other writer waits."""
    for n in range(60):
        put(book, b'{"data": {"address": "bob%d@example.net"}}' % n)
        put(book, b"Subject: about bob\n\nann.lee@example.net.au", "forward")
    book.back(book.send(BOB), hard(BOB))
    book.back(None, None)
    assert list(redact_mentions(book.store, PERSON)) == []


def test_a_message_that_cannot_be_parsed_stays_where_it_is_about_others(book: Any) -> None:
    """Fifteen hundred messages in each other, from a stranger; one that names the person, so wrapped, goes."""
    wrapped = b"Content-Type: message/rfc822\n\n" * 1_500 + b"Content-Transfer-Encoding: base64\n\n"
    others = wrapped + base64.encodebytes(b"<carol@example.org>")
    put(book, others, "forward")
    put(book, wrapped + base64.encodebytes(f"<{ANN}>".encode()), "forward")
    assert sum(redact_mentions(book.store, PERSON)) == 1
    assert items(book) == [(others, "")]


@pytest.mark.parametrize("address", [ANN, '"a\\"b"@example.net', "jörg@bücher.example"])
def test_an_event_loses_the_address_and_is_still_an_event(book: Any, address: str) -> None:
    """Whatever JSON makes of the address; the rest is as it was."""
    data = {"address": address, "diagnostic": f"550 <{address}> is gone", "tag": 'a "b"'}
    put(book, json.dumps({"data": data, "version": 1}, ensure_ascii=False).encode())
    assert sum(redact_mentions(book.store, AddressMatcher(address))) == 1
    ((body, _),) = items(book)
    left = {"address": ERASED, "diagnostic": f"550 <{ERASED}> is gone", "tag": 'a "b"'}
    assert json.loads(body) == {"data": left, "version": 1}


def test_what_is_no_json_loses_the_address_too(book: Any) -> None:
    """And an error does, whatever its item is about; a second run finds nothing."""
    put(book, f"{{half of <{ANN}>".encode())
    put(book, b"To: bob@example.net\n\nHello\n", "forward", error=f"550 <{ANN}>: no such user")
    assert sum(redact_mentions(book.store, PERSON)) == 2
    assert items(book) == [
        (f"{{half of <{ERASED}>".encode(), ""),
        (b"To: bob@example.net\n\nHello\n", f"550 <{ERASED}>: no such user"),
    ]
    assert list(redact_mentions(book.store, PERSON)) == []


def test_no_message_is_decoded_while_others_wait(book: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it names the person is found out before the transaction that takes it away."""
    writing, open_ = Store.writing, list[bool]()

    @contextlib.contextmanager
    def observed(self: Store) -> Iterator[Any]:
        with writing(self) as connection:
            open_.append(True)
            try:
                yield connection
            finally:
                open_.pop()

    class Watched(AddressMatcher):
        decoded = 0

        def matches_mail(self, raw: bytes) -> bool:
            assert not open_
            self.decoded += 1
            return super().matches_mail(raw)

    person = Watched(ANN)
    for name in (ANN, BOB, ANN):
        put(book, f"To: {name}\n\nHello\n".encode(), "forward")
    book.back(None, None, raw=f"To: {ANN}\n\nHello\n".encode())
    monkeypatch.setattr(Store, "writing", observed)
    assert sum(redact_mentions(book.store, person)) == 4 and person.decoded == 5
    assert [body for body, _ in items(book)] == [f"To: {BOB}\n\nHello\n".encode()]


def test_what_has_gone_or_changed_meanwhile_is_left_alone(book: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row is looked at again in the transaction that changes it."""
    monkeypatch.setattr(batches, "MAX_BATCH_MS", 0)
    for n in range(3):
        put(book, f'{{"data": {{"address": "{ANN}", "send": "{n}"}}}}'.encode())
    running = redact_mentions(book.store, PERSON)
    assert next(running) == 1
    with book.store.writing() as connection:
        connection.execute(text("DELETE FROM outbox WHERE id = 2"))
        connection.execute(text("UPDATE outbox SET body = :body WHERE id = 3"), {"body": b"{}"})
    assert sum(running) == 0
    assert items(book)[1] == (b"{}", "")


def write_notes(book: Any, count: int) -> None:
    """The postmaster suppressed Bob's address that many times, each time with a note about the person."""
    recorder = book.recorder
    number = book.number(BOB) or (book.send(BOB), book.number(BOB))[1]
    key = recorder.matcher.key(BOB)
    ledger: Ledger = recorder.ledger
    with book.store.writing() as connection:
        for n in range(count):
            detail = {"scope": "*", "note": f"the same as {ANN}, {n}"}
            ledger.write(connection, Address(number, key), NewFact(book.now, "suppress", number, detail=detail))


def test_a_note_is_redacted_with_the_fact_that_it_comes_from(book: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And by the next run where a first one was stopped between the two; a rebuild finds no difference."""
    monkeypatch.setattr(batches, "MAX_BATCH_MS", 60_000)  # both facts in the first transaction, on a slow machine too
    write_notes(book, 2)
    running = redact_mentions(book.store, PERSON)
    next(running)
    running.close()
    assert book.suppressed(BOB).note == f"the same as {ANN}, 1"
    assert sum(redact_mentions(book.store, PERSON)) == 1
    assert book.suppressed(BOB).note == f"the same as {ERASED}, 1"
    assert all(ERASED in fact.what.detail["note"] for fact in book.facts())
    assert list(differences(book.store)) == []


def test_facts_are_redacted_without_their_addresses_history(book: Any, make_part: Any, make_bounce: Any) -> None:
    """Many of one address that name the person, in reports and in notes: none of the others is read for each."""
    for _ in range(10):
        book.back(book.send(BOB), make_bounce(make_part(BOB, diagnostic=f"no such user; see {ANN}")))
    write_notes(book, 10)
    told, engine = list[str](), book.store._writer

    def listen(_: Any, __: Any, statement: str, *rest: Any) -> None:
        told.append(statement)

    event.listen(engine, "before_cursor_execute", listen)
    assert sum(redact_mentions(book.store, PERSON)) >= 20
    event.remove(engine, "before_cursor_execute", listen)
    assert told and not [one for one in told if "fact.address_id IN" in one]
    assert len(told) <= 21 * 6
