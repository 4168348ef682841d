"""Sends and suppressions: what is written for each, and what is read back at what time."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, text

from retour_policy.clock import DAY
from retour_policy.core.fold import Account
from retour_policy.core.suppression import Suppression
from retour_policy.ledger import accounts
from retour_policy.store import schema, sends, suppressions, upsert
from retour_policy.store.addresses import Address
from retour_policy.store.database import Store
from retour_policy.store.sends import NewSend

SECRET = bytes(range(32))
NOW = 1_800_000_000_000
A = "anna@example.net"
KEY = b"k" * 16


def test_an_id_that_is_taken_is_drawn_again(store: Store) -> None:
    """The insert says that the id is there; the send gets the next one, and the transaction goes on."""
    draws = iter([7, 7, 7, 8])
    with store.writing() as connection:
        first = sends.record(connection, SECRET, NewSend("news", "a@b", (A,)), lambda: next(draws))
        second = sends.record(connection, SECRET, NewSend("news", "a@b", (A,)), lambda: next(draws))
        assert (first, second) == (7, 8)
        assert sends.find(connection, 7) and sends.find(connection, 8)


def test_a_send_that_did_not_take_place_is_removed(store: Store) -> None:
    """With its recipients' parts, so that it is nobody's good mail; another send stays."""
    with store.writing() as connection:
        for number in (7, 8):
            sends.record(connection, SECRET, NewSend("news", "a@b", (A, "b@example.net")), lambda number=number: number)
        sends.remove(connection, 7)
        assert sends.find(connection, 7) is None and sends.find(connection, 8)
        assert connection.scalar(text("SELECT count(*) FROM send_recipient")) == 2


def test_a_clock_that_stands_still_is_an_error(store: Store) -> None:
    """Five ids drawn, all taken: told, and nothing of the send is left."""
    with store.writing() as connection:
        sends.record(connection, SECRET, NewSend("news", "a@b", (A,)), lambda: 7)
    with pytest.raises(RuntimeError, match="5 ids drawn"), store.writing() as connection:
        sends.record(connection, SECRET, NewSend("news", "a@b", ("new@example.net",)), lambda: 7)
    with store.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM address")) == 1


def test_one_recipient_in_two_spellings_is_one(store: Store) -> None:
    """A message to the same mailbox twice has one recipient, so its token is no shared one."""
    with store.writing() as connection:
        number = sends.record(connection, SECRET, NewSend("news", "a@b", (A, A.upper(), A)), lambda: 7)
        send = sends.find(connection, number)
        assert send and len(send.recipients) == 1
        assert connection.scalar(text("SELECT recipients FROM send")) == 1


def test_a_send_keeps_what_it_was_given_cleaned(store: Store) -> None:
    """Tag and Message-ID come back; what no database takes is taken out; an unknown id is none."""
    new = NewSend("news", "a\udcff@b", (A,), message_id="<1\x00@b>", tag="t\x1b[31m", queue_id="4XYZ")
    with store.writing() as connection:
        sends.record(connection, SECRET, new, lambda: 7)
        row = connection.execute(text("SELECT sender, message_id, tag, queue_id FROM send")).one()
        assert tuple(row) == ("a\ufffd@b", "<1\ufffd@b>", "t\ufffd[31m", "4XYZ")
        found = sends.find(connection, 7)
        assert found and (found.stream, found.tag) == ("news", "t\ufffd[31m")
        assert sends.find(connection, 8) is None


@pytest.fixture
def suppress(store: Store, book: Any) -> Any:
    """Adds suppressions of one address; each argument is a scope, a beginning and an end."""
    book.send(A)

    def add(scope: str, since: int, until: int | None, cause: str = "hard") -> None:
        with store.writing() as connection:
            one = Suppression(scope, cause, since, until)
            accounts.write(connection, Address(book.number(A), KEY), Account(), Account(suppressions={scope: one}))

    return add


def look_up(store: Store, stream: str, now: int) -> str | None:
    with store.reading() as connection:
        found = suppressions.find_in_force(connection, KEY, stream, now, transactional=False)
        return found.scope if found else None


def test_everywhere_or_one_stream(store: Store, suppress: Any) -> None:
    """A stream's suppression is that stream's; everywhere is everywhere; the longest one in force is named."""
    suppress("news", NOW, None)
    assert (look_up(store, "news", NOW), look_up(store, "shop", NOW)) == ("news", None)
    suppress("*", NOW, NOW + DAY)
    assert (look_up(store, "news", NOW), look_up(store, "shop", NOW)) == ("news", "*")
    assert (look_up(store, "news", NOW + DAY), look_up(store, "shop", NOW + DAY)) == ("news", None)


def test_listed_are_those_in_force(store: Store, suppress: Any) -> None:
    """The oldest first, without those that have run out."""
    suppress("news", NOW + 1, None)
    suppress("*", NOW, NOW + DAY)
    with store.reading() as connection:
        assert [one.scope for _, one in suppressions.read_in_force(connection, NOW + DAY - 1)] == ["*", "news"]
        assert [one.scope for _, one in suppressions.read_in_force(connection, NOW + DAY, key=KEY)] == ["news"]
        assert suppressions.read_in_force(connection, NOW, key=b"other") == []


@pytest.mark.sqlite
@pytest.mark.sqlite
def test_a_page_of_suppressions_is_read_in_the_order_of_an_index(store: Store) -> None:
    """Not all of them are sorted for it: there may be a million."""
    asked: list[str] = []
    event.listen(store._reader, "before_cursor_execute", lambda *args: asked.append(args[2]))
    with store.reading() as connection:
        suppressions.read_in_force(connection, NOW, limit=40)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[-1]}", (NOW, NOW, 40, 0)).all()
    words = [row[-1] for row in plan]
    assert any("suppression_by_since" in line for line in words) and not any("ORDER BY" in line for line in words)


def test_the_words_of_a_suppression_are_one_line() -> None:
    """Cause, reason and dates, as the 550 has them."""
    words = Suppression("*", "hard", NOW, NOW + DAY, "5.1.1 userunknown").words()
    assert words == "hard bounces (5.1.1 userunknown), since 2027-01-15, until 2027-01-16"
    assert Suppression("*", "operator", NOW, None).words() == "by the postmaster, since 2027-01-15"


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_whether_a_row_was_new_is_known_on_either_database(dialect: str) -> None:
    """psycopg's count of rows is gone after an INSERT unless it is asked for: every id would look taken."""
    for table in (schema.send, schema.seen):
        assert upsert._ignoring(dialect, table).get_execution_options()["preserve_rowcount"] is True
