"""Room: what a flood of mail to postmaster takes in the database, and that the file shrinks again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from lab.world import World
from retour_bounces import Report
from retour_policy.clock import DAY
from retour_policy.errors import TooMuchWaits
from retour_policy.maintenance.purge import purge
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.outbox import forward_room
from retour_policy.store import migrate, outbox_selection, schema, sqlite
from retour_policy.store.database import Store, open_store
from retour_policy.store.outbox_selection import ItemFilter

SIZE = 1_000_000


@pytest.fixture
def world(tmp_path: Path) -> World:  # type: ignore[misc]
    with World(tmp_path, {"stream": [{"name": "news"}]}) as world:
        yield world  # type: ignore[misc]


def to_postmaster(world: World, number: int, size: int = SIZE) -> str:
    """Somebody writes to postmaster@ of the bounce domain; the outcome."""
    raw = b"Subject: %d\r\n\r\n" % number + b"x" * size
    message = ReturnedMessage(
        world.now,
        Route("role", None),
        "postmaster@bounces.example.com",
        "",
        raw,
        b"%d" % number,
        Report("not-a-report"),
    )
    return world.write(lambda connection: world.recorder.record(connection, message))


def bodies(world: World) -> list[bytes]:
    with world.store.reading() as connection:
        items = outbox_selection.read(connection, outbox_selection.read_ids(connection, ItemFilter()))
    return [item.body for item in items]


def drop_all(world: World) -> None:
    """As the courier does with what was carried out."""
    with world.store.reading() as connection:
        ids = outbox_selection.read_ids(connection, ItemFilter())
    for start in range(0, len(ids), 4):
        world.write(lambda connection, some=ids[start : start + 4]: outbox_selection.drop(connection, some))


def file_size(store: Store) -> int:
    """Of the file alone, once its log is written back."""
    store.overwrite_log()
    return sqlite.sqlite_file(store.url).stat().st_size  # type: ignore[union-attr]


def test_a_flood_to_postmaster_does_not_fill_the_database(world: World) -> None:
    """Sixteen megabytes are kept whole, and of the rest the beginning, with a note that says so; none is left out."""
    for number in range(60):
        assert to_postmaster(world, number) == "forwarded"
    kept = bodies(world)
    whole = [body for body in kept if len(body) > SIZE]
    assert len(kept) == 60 and len(whole) == 15 and kept[:15] == whole
    cut = kept[-1]
    assert cut.startswith(b"Subject: 59\r\n\r\nxxx") and len(cut) < 9_000
    assert cut.endswith(b"[Retour kept the first 8000 of 1000015 octets, because much waits to be forwarded]\r\n")
    assert sum(map(len, kept)) < forward_room.MAX_WHOLE_OCTETS + 60 * 9_000
    assert to_postmaster(world, 60, 100) == "forwarded" and bodies(world)[-1].endswith(b"xxx")  # small ones are whole


def test_dead_letters_take_room_too(world: World) -> None:
    """A relay that was down for three days does not double what is kept."""
    for number in range(16):
        to_postmaster(world, number)
    world.write(lambda connection: connection.execute(schema.outbox.update().values(failed=1)))
    to_postmaster(world, 16)
    assert len(bodies(world)[-1]) < 9_000


def test_what_is_too_many_stays_with_the_mail_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the message is recorded, so it is taken when there is room again."""
    monkeypatch.setattr(forward_room, "MAX_WAITING_FORWARDS", 3)
    for number in range(3):
        to_postmaster(world, number, 10)
    for _ in range(2):
        with pytest.raises(TooMuchWaits, match="3 messages wait for postmaster"):
            to_postmaster(world, 3, 10)
    drop_all(world)
    assert to_postmaster(world, 3, 10) == "forwarded"


def dead_letters(count: int) -> Callable[[Connection], None]:
    row = {"uid": "", "at": 0, "kind": "forward", "channel": "forward", "due": 0, "give_up": 0, "failed": 1}
    rows = [row | {"target": "", "body": b"x" * 100}] * count

    def work(connection: Connection) -> None:
        connection.execute(insert(schema.outbox), rows)

    return work


@pytest.mark.sqlite
def test_what_lies_there_costs_a_message_nothing(world: World) -> None:
    """How many dead letters there are does not change how long the next message holds the database's lock."""
    steps: list[int] = []

    def work(connection: Connection) -> None:
        raw = connection.connection.driver_connection
        assert raw
        steps.append(0)

        def count() -> int:
            steps[-1] += 1
            return 0

        raw.set_progress_handler(count, 100)
        forward_room.kept(connection, b"x" * SIZE)
        raw.set_progress_handler(None, 0)

    for _ in range(3):
        world.write(dead_letters(6_000))
        world.write(work)
    assert 0 < steps[2] < 1.2 * steps[0], steps


@pytest.mark.sqlite
def test_the_file_shrinks_when_they_are_gone(world: World) -> None:
    """A little in each transaction; some room is kept for what comes next."""
    for number in range(15):
        to_postmaster(world, number)
    full = file_size(world.store)
    drop_all(world)
    released = []
    while not released or released[-1]:
        released.append(world.write(sqlite.release_pages))
    assert full > 15 * SIZE and file_size(world.store) < 5 * SIZE
    assert max(released) <= sqlite.MAX_PAGES_RELEASED and len(released) > 5


@pytest.mark.sqlite
def test_purge_gives_the_room_back(world: World) -> None:
    """Of what it deleted, and of what others did."""
    for number in range(15):
        to_postmaster(world, number)
    drop_all(world)
    for _ in purge(world.store, world.now - 400 * DAY):
        pass
    assert file_size(world.store) < 5 * SIZE


@pytest.mark.sqlite
def test_a_database_from_before_shrinks_after_it_was_compacted(tmp_path: Path) -> None:
    """Its file cannot give room back by itself until it was written anew once; what is in it stays."""
    path = tmp_path / "retour.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE forerunner (id)")
        connection.execute("DROP TABLE forerunner")
        connection.execute("PRAGMA user_version = 7")
    store = open_store(f"sqlite:///{path}", check=False)
    migrate.upgrade(store)
    big = {"key": b"k", "text": "x"}
    row = {"at": 1, "kind": "event", "channel": "c", "due": 1, "give_up": 9, "target": "t", "uid": "u"}
    with store.writing() as connection:
        connection.execute(schema.address.insert().values(big))
        connection.execute(schema.outbox.insert(), [row | {"body": bytes(SIZE)}] * 10)
    with store.writing() as connection:
        connection.execute(schema.outbox.delete())
    with store.writing() as connection:
        assert sqlite.release_pages(connection) == 0
    sizes = store.compact()
    assert sizes
    before, after = sizes
    assert before > 10 * SIZE > SIZE > after == path.stat().st_size
    with store.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA auto_vacuum").scalar() == 2
        assert [row.text for row in connection.execute(schema.address.select())] == ["x"]
    store.close()


@pytest.mark.sqlite
def test_a_new_database_can_shrink(store: Store) -> None:
    """From its first table on, and its log does not stay as long as it ever was."""
    with store.writing() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("auto_vacuum", "journal_size_limit")
        ]
    assert settings == [2, sqlite.MAX_LOG_OCTETS]
