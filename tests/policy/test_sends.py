"""Sends, suppressions and the outbox: what is written for each, and what is read back at what time."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from retour_policy import ledger, outbox, sends, suppressions
from retour_policy.clock import DAY, HOUR, MINUTE
from retour_policy.fold import Account
from retour_policy.ledger import Address
from retour_policy.sends import NewSend
from retour_policy.store import Store
from retour_policy.suppression import Suppression

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
            ledger.store(connection, Address(book.number(A), KEY), Account(), Account(suppressions={scope: one}))

    return add


def look_up(store: Store, stream: str, now: int) -> str | None:
    with store.reading() as connection:
        found = suppressions.look_up(connection, KEY, stream, now, transactional=False)
        return found.scope if found else None


def test_everywhere_or_one_stream(store: Store, suppress: Any) -> None:
    """A stream's suppression is that stream's; everywhere is everywhere; one that has run out hides no other."""
    suppress("news", NOW, None)
    assert (look_up(store, "news", NOW), look_up(store, "shop", NOW)) == ("news", None)
    suppress("*", NOW, NOW + DAY)
    assert (look_up(store, "news", NOW), look_up(store, "shop", NOW)) == ("*", "*")
    assert (look_up(store, "news", NOW + DAY), look_up(store, "shop", NOW + DAY)) == ("news", None)


def test_listed_are_those_in_force(store: Store, suppress: Any) -> None:
    """The oldest first, without those that have run out."""
    suppress("news", NOW + 1, None)
    suppress("*", NOW, NOW + DAY)
    with store.reading() as connection:
        assert [one.scope for _, one in suppressions.listed(connection, NOW + DAY - 1)] == ["*", "news"]
        assert [one.scope for _, one in suppressions.listed(connection, NOW + DAY, key=KEY)] == ["news"]
        assert suppressions.listed(connection, NOW, key=b"other") == []


def test_the_words_of_a_suppression_are_one_line() -> None:
    """Cause, reason and dates, as the 550 has them."""
    words = Suppression("*", "hard", NOW, NOW + DAY, "5.1.1 userunknown").words()
    assert words == "hard bounces (5.1.1 userunknown), since 2027-01-15, until 2027-01-16"
    assert Suppression("*", "operator", NOW, None).words() == "by the postmaster, since 2027-01-15"


def put(store: Store, *ats: int) -> None:
    with store.writing() as connection:
        for at in ats:
            outbox.put(connection, at, "forward", "postmaster@example.org", b"raw", None)


def take(store: Store, now: int, most: int = 10) -> list[outbox.Item]:
    with store.writing() as connection:
        return outbox.take(connection, now, most)


def test_an_item_is_leased_to_one_courier(store: Store) -> None:
    """The oldest first; another courier does not get it until the lease is over; done, it is gone."""
    put(store, NOW + 2, NOW + 1, NOW + 100)
    items = take(store, NOW + 2)
    assert [item.at for item in items] == [NOW + 1, NOW + 2]
    assert take(store, NOW + 2) == [] and len(take(store, NOW + 2 + outbox.LEASE, 1)) == 1
    with store.writing() as connection:
        for item in items:
            outbox.done(connection, item)
    assert [item.at for item in take(store, NOW + HOUR)] == [NOW + 100]


def test_a_failed_item_waits_longer_each_time_and_is_kept_in_the_end(store: Store) -> None:
    """A minute, five, fifteen, an hour, then every four; after three days it is given up and stays to be seen."""
    put(store, NOW)
    now, waits = NOW, []
    while items := take(store, now):
        with store.writing() as connection:
            outbox.failed(connection, items[0], now, "451 later", permanent=False)
            row = connection.execute(text("SELECT due, failed, attempts, error FROM outbox")).one()
        waits.append(row.due - now)
        assert take(store, row.due - 1) == []
        now = row.due
    assert waits[:6] == [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 4 * HOUR, 4 * HOUR]
    assert (row.failed, row.error) == (1, "451 later") and 72 * HOUR < now - NOW < 84 * HOUR


def test_a_permanent_failure_is_not_tried_again(store: Store) -> None:
    """Refused with 5xx: kept with its error, never taken again."""
    put(store, NOW)
    (item,) = take(store, NOW)
    with store.writing() as connection:
        outbox.failed(connection, item, NOW, "550 no", permanent=True)
    assert take(store, NOW + 100 * DAY) == []
