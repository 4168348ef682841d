"""Copying a store: all of it arrives, a copy that was cut off goes on, and nothing is written over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from lab.cluster import Cluster
from retour_policy.errors import StoreUnavailable
from retour_policy.store import schema, transfer
from retour_policy.store.database import Store, open_store

A, B = "anna@example.net", "bob@example.net"


@pytest.fixture
def there(cluster: Cluster) -> Iterator[str]:
    """The URL of a database without tables on PostgreSQL."""
    name = cluster.new_database("template0")
    yield cluster.url(name)
    cluster.drop(name)


@pytest.fixture
def full(office: Any) -> Any:
    """An office with something in nearly every table, and a number of the outbox that is used no more."""
    office.bounced(A, times=4)
    office.bounced(A, B)
    office("suppressions", "add", "zoë@example.org", "--note", "asked\u2028us")

    def more(connection: Any) -> None:
        row = {"at": 1, "kind": "event", "channel": "hook:a", "due": 1, "give_up": 9, "target": "paused", "uid": "u"}
        connection.execute(insert(schema.outbox), [row | {"body": bytes(range(256))}, row | {"body": b""}])
        connection.execute(schema.outbox.delete().where(schema.outbox.c.body == b""))
        connection.execute(insert(schema.unread), {"fact_id": 1, "head": b"\0\xff"})
        storm = {"stream": "s", "opened": 5, "sent": 1, "failed": 1}
        connection.execute(insert(schema.storm), [storm | {"side": side} for side in ("Z", "a", "é", "_")])
        counter = {"stream": "s", "bucket": 0, "writer": "w", "sent": 1, "failed": 0}
        connection.execute(insert(schema.storm_counter), [counter | {"side": side} for side in ("Z", "a", "é", "_")])

    office.write(more)
    return office


def all_rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Everything in a store, by table."""
    store = open_store(url)
    with store.reading() as connection:
        found = {
            one.name: sorted((tuple(row) for row in connection.execute(select(one))), key=repr)
            for one in schema.metadata.sorted_tables
        }
    store.close()
    return found


def next_item(url: str) -> int:
    """The number that the outbox gives out next."""
    store = open_store(url)
    row = {"at": 1, "kind": "event", "channel": "c", "due": 1, "give_up": 9, "target": "t", "uid": "u", "body": b""}
    with store.writing() as connection:
        (number,) = connection.execute(insert(schema.outbox), row).inserted_primary_key or (0,)
    store.close()
    return int(number)


def test_a_store_goes_to_postgresql_and_back_unchanged(full: Any, there: str, folder: Path) -> None:
    """Every row and value, also numbers that were given out once; the commands find all of it under the new URL."""
    url, back = f"sqlite:///{full.home}/retour.db", f"sqlite:///{folder}/back.db"
    before = all_rows(url)
    assert sum(map(len, before.values())) > 30
    done = full("db", "copy", "--to", there)
    assert done.stdout.endswith(f"{sum(map(len, before.values()))} rows copied; no difference from the facts\n")
    assert all_rows(there) == before
    (said,) = full.json("db", "copy", "--from", there, "--to", back)
    assert said["differing"] == 0 and all_rows(back) == before
    listed = full("suppressions", "list").stdout
    full.edit(url, there)
    assert full("suppressions", "list").stdout == listed
    assert next_item(there) == next_item(back) == 3


def test_a_store_that_is_not_empty_is_refused(full: Any, there: str) -> None:
    """Also the store itself, and a copy that has ended."""
    url = f"sqlite:///{full.home}/retour.db"
    full("db", "copy", "--to", there)
    before = all_rows(there)
    assert "is not empty; nothing was copied" in full("db", "copy", "--to", there, status=1).stderr
    assert "names the store that is to be copied" in full("db", "copy", "--to", url, status=1).stderr
    assert "is not the URL of a database" in full("db", "copy", "--to", "retour.db", status=2).stderr
    assert all_rows(there) == before


def test_a_copy_that_is_cut_off_goes_on(full: Any, there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any transaction; until it has ended nothing can be done with the target but to go on."""
    monkeypatch.setattr(transfer, "MAX_ROWS", 2)
    before = all_rows(f"sqlite:///{full.home}/retour.db")
    write, cuts = transfer._write, 0

    def unlucky(target: Store, *rest: Any) -> None:
        if next(turns) == 3:
            raise StoreUnavailable("cut off")
        write(target, *rest)

    monkeypatch.setattr(transfer, "_write", unlucky)
    while True:
        turns = iter(range(1000))
        done = full("db", "copy", "--to", there, status=None)
        if done.exit_code == 0:
            break
        cuts += 1
        assert (done.exit_code, done.stderr.splitlines()[-1]) == (75, "retour: cut off")
        with pytest.raises(Exception, match="a copy into it has not ended"):
            open_store(there)
    assert cuts > 5 and all_rows(there) == before


def test_a_source_that_changes_meanwhile_is_noticed(full: Any, there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is not there: a service was still running. The copy cannot be used."""
    copied = transfer.copy

    def meanwhile(source: Store, target: Store) -> Iterator[int]:
        yield from copied(source, target)
        full.bounced("late@example.net")

    monkeypatch.setattr(transfer, "copy", meanwhile)
    done = full("db", "copy", "--to", there, status=1)
    assert "has changed meanwhile" in done.stderr and "stop all services" in done.stderr
    with pytest.raises(Exception, match="a copy into it has not ended"):
        open_store(there)


def test_a_value_that_does_not_fit_is_named(full: Any, there: str) -> None:
    """SQLite keeps a text of any length in any column; the table and what is wrong are named."""
    full.write(lambda c: c.execute(insert(schema.storm), {"stream": "s" * 65, "side": "x", "opened": 1, "sent": 1,
                                                          "failed": 1}))  # fmt: skip
    done = full("db", "copy", "--to", there, status=1)
    assert "a row of storm cannot be stored: value too long for type character varying(64)" in done.stderr
