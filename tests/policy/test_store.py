"""The store: opened only where it is ours, durable by its settings, shared by processes, temporary in its errors."""

from __future__ import annotations

import contextlib
import gc
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

from retour_policy.clock import system_clock
from retour_policy.errors import ConfigError, StoreRefused, StoreUnavailable
from retour_policy.store import migrate, schema, sqlite
from retour_policy.store.database import Store, open_store


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(sql).fetchall()


def shape(path: Path) -> dict[str, object]:
    """Columns with types, defaults and keys, foreign keys and indexes of each table, as SQLite tells them."""
    tables = [name for (name,) in query(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    found: dict[str, object] = {}
    for name in tables:
        for pragma in ("table_xinfo", "foreign_key_list", "index_list"):
            numbered = query(path, f"PRAGMA {pragma}({name})")
            found[f"{name} {pragma}"] = sorted(repr(row[1:]) for row in numbered)
        for index in query(path, f"PRAGMA index_list({name})"):
            found[f"{name} {index[1]}"] = query(path, f"PRAGMA index_xinfo({index[1]})")
        found[f"{name} rowid"] = query(path, f"SELECT wr FROM pragma_table_list('{name}')")
        (sql,) = query(path, f"SELECT sql FROM sqlite_master WHERE name = '{name}'")[0]
        found[f"{name} never reuses a number"] = "AUTOINCREMENT" in sql
    return found


def test_the_migrations_lead_to_the_models(store: Store, database: Path, tmp_path: Path) -> None:
    """Alembic finds no difference between the migrated database and the code's tables, and SQLite finds none."""
    with store.reading() as connection:
        options = {"compare_type": True, "version_table": schema.VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
    engine = create_engine(url(tmp_path / "models.db"))
    schema.metadata.create_all(engine)
    engine.dispose()
    migrated = shape(database)
    models = shape(tmp_path / "models.db")
    assert {name: migrated[name] for name in models} == models
    assert {name.split()[0] for name in migrated} == {*schema.metadata.tables, schema.VERSION_TABLE, "sqlite_sequence"}


def test_the_comparison_can_fail(database: Path) -> None:
    """A column and an index too few are found, so that the test above says something."""
    with sqlite3.connect(database) as connection:
        connection.execute("DROP INDEX fact_by_time")
        connection.execute("ALTER TABLE send DROP COLUMN tag")
    damaged = open_store(url(database))
    with damaged.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert {change[0] for change in compare_metadata(context, schema.metadata)} == {"add_column", "add_index"}
    damaged.close()


def test_an_older_database_is_brought_up_to_date(tmp_path: Path) -> None:
    """With two storms open at one side, as two hosts could open them once: one stays open, one has lasted until now.

    What it held until then is looked for up to its end, and counts again some time after that.
    """
    store = open_store(url(tmp_path / "old.db"), check=False)
    store.create()
    with store.writing() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for side, closed in (("a", None), ("a", None), ("a", 9), ("b", None)):
            statement = (
                "INSERT INTO storm (stream, side, opened, closed, sent, failed, last_fact) VALUES (?,?,?,?,?,?,?)"
            )
            connection.exec_driver_sql(statement, ("s", side, 5, closed, 1, 1, 1))
    before = system_clock()
    migrate.upgrade(store)
    after = system_clock()
    store.check()
    store.close()
    first, (side, ended), *others = query(tmp_path / "old.db", "SELECT side, closed FROM storm ORDER BY id")
    assert [first, *others] == [("a", None), ("a", 9), ("b", None)]
    assert side == "a" and isinstance(ended, int) and before <= ended <= after


def test_what_waits_in_the_outbox_survives_the_upgrade_and_keeps_its_number(tmp_path: Path) -> None:
    """The table is rebuilt, so that numbers are never used twice; existing ones are kept."""
    store = open_store(url(tmp_path / "old.db"), check=False)
    store.create()
    row = {"at": 1, "kind": "event", "channel": "hook:a", "due": 1, "give_up": 9, "target": "paused", "body": b"{}"}
    with store.writing() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(schema.outbox.insert(), [row | {"id": n, "uid": str(n)} for n in (3, 7)])
    migrate.upgrade(store)
    with store.writing() as connection:
        connection.execute(schema.outbox.delete().where(schema.outbox.c.id == 7))
        connection.execute(schema.outbox.insert().values(row | {"uid": "new"}))
    store.close()
    assert query(tmp_path / "old.db", "SELECT id, uid, body FROM outbox") == [(3, "3", b"{}"), (8, "new", b"{}")]


def test_the_code_names_the_newest_migration(store: Store) -> None:
    """REVISION, the migrations' head, and what a migrated database says are the same."""
    assert schema.REVISION == migrate.newest() == store.revision()


@pytest.mark.sqlite
def test_the_writer_is_durable(store: Store) -> None:
    """WAL, synchronous FULL and foreign keys, asked of the very connection that writes."""
    with store.writing() as connection:
        pragma = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in
                  ("journal_mode", "synchronous", "foreign_keys")}  # fmt: skip
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_every_connection_of_the_writer_is_durable(database: Path) -> None:
    """The settings are those of a connection in SQLite, so a second one has them too."""
    store = open_store(url(database))
    for _ in range(2):
        with store.writing() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        store.close()


def test_readers_cannot_write(store: Store) -> None:
    """A connection for reading refuses to change anything."""
    with pytest.raises(StoreUnavailable, match="readonly"), store.reading() as connection:
        connection.execute(schema.address.insert().values(key=b"x", text="x"))


def test_a_reader_sees_one_state(store: Store) -> None:
    """What is committed while somebody reads is not seen in the middle of it."""
    with store.reading() as reader:
        before = reader.scalar(text("SELECT count(*) FROM address"))
        with store.writing() as writer:
            writer.execute(schema.address.insert().values(key=b"x", text="x"))
        assert reader.scalar(text("SELECT count(*) FROM address")) == before
    with store.reading() as reader:
        assert reader.scalar(text("SELECT count(*) FROM address")) == before + 1


def test_an_error_undoes_the_transaction(store: Store) -> None:
    """Nothing of a block that raises is in the store, and the store goes on."""
    with pytest.raises(ZeroDivisionError), store.writing() as connection:
        connection.execute(schema.address.insert().values(key=b"x", text="x"))
        raise ZeroDivisionError
    with store.writing() as connection:
        assert connection.scalar(text("SELECT count(*) FROM address")) == 0


def test_a_value_that_breaks_a_rule_is_not_the_stores_fault(store: Store) -> None:
    """A constraint that fails would fail tomorrow too: the error stays what it is."""
    with pytest.raises(IntegrityError), store.writing() as connection:
        connection.execute(schema.unread.insert().values(fact_id=77, head=b""))


@pytest.mark.sqlite
def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables come all at once: cut off in the middle, the database is as empty as before, and upgrades later."""
    fresh = Store(url(tmp_path / "retour.db"))

    def cut_off(config: object, revision: str) -> None:
        connection = config.attributes["connection"]  # type: ignore[attr-defined]
        real(config, revision)
        assert "fact" in inspect(connection).get_table_names()
        raise OSError("the power went")

    real = migrate.command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(migrate.command, "upgrade", cut_off)
        with pytest.raises(StoreUnavailable, match="the power went"):
            migrate.upgrade(fresh)
    assert fresh.revision() is None
    migrate.upgrade(fresh)
    fresh.check()
    migrate.upgrade(fresh)  # a second time changes nothing
    fresh.close()


@pytest.mark.sqlite
def test_a_new_database_is_nobody_elses_to_read(tmp_path: Path) -> None:
    """Whatever the umask: it holds who wrote to whom."""
    before = os.umask(0)
    try:
        fresh = Store(url(tmp_path / "retour.db"))
        migrate.upgrade(fresh)
        fresh.close()
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o007 == 0, path


@pytest.mark.sqlite
def test_what_root_makes_is_the_services(tmp_path: Path) -> None:
    """`retour db upgrade` and other commands, run as root, leave no file that the service cannot write."""
    if os.geteuid() != 0:
        return
    os.chown(tmp_path, 4242, 4243)
    fresh = Store(url(tmp_path / "retour.db"))
    migrate.upgrade(fresh)
    with fresh.writing() as connection, fresh.reading():
        connection.execute(schema.address.insert().values(key=b"x", text="x"))
        owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in tmp_path.iterdir()}
    fresh.close()
    assert set(owners) == {"retour.db", "retour.db.lock", "retour.db-wal", "retour.db-shm"}
    assert set(owners.values()) == {(4242, 4243)}


@pytest.mark.sqlite
def test_no_database_is_told_how_to_come_by(tmp_path: Path) -> None:
    """A missing or empty file: `retour db upgrade`; and looking makes no file."""
    with pytest.raises(StoreRefused, match="no database; `retour db upgrade` creates one"):
        open_store(url(tmp_path / "retour.db"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "retour.db").touch()
    with pytest.raises(StoreRefused, match="empty; run `retour db upgrade`"):
        open_store(url(tmp_path / "retour.db"))


@pytest.mark.parametrize(
    ("revision", "words"),
    [("9999", "newer than this Retour's.*install that newer Retour"), ("0000", "older than.*`retour db upgrade`")],
)
def test_a_database_of_another_schema_is_refused(database: Path, revision: str, words: str) -> None:
    """Newer or older: refused with the command to run, and not changed."""
    query(database, f"UPDATE {schema.VERSION_TABLE} SET version_num = '{revision}'")
    before = database.read_bytes()
    with pytest.raises(StoreRefused, match=words):
        open_store(url(database))
    with pytest.raises(StoreRefused):
        migrate.upgrade(Store(url(database)))
    assert database.read_bytes() == before


def test_a_database_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    """Somebody else's SQLite file is not turned into WAL, gets no table, and is told by its tables."""
    other = tmp_path / "other.db"
    query(other, "CREATE TABLE orders (id INTEGER)")
    before = other.read_bytes()
    for call in (lambda: open_store(url(other)), lambda: migrate.upgrade(Store(url(other)))):
        with pytest.raises(StoreRefused, match=r"not Retour's \(orders\).*store.url.*`retour db upgrade`"):
            call()
    assert other.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["other.db"]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A text file named by mistake keeps its text."""
    (tmp_path / "notes").write_text("buy milk\n" * 1000)
    for call in (lambda: open_store(url(tmp_path / "notes")), lambda: migrate.upgrade(Store(url(tmp_path / "notes")))):
        with pytest.raises(StoreRefused, match=r"not a database; name another in store\.url"):
            call()
    assert (tmp_path / "notes").read_text() == "buy milk\n" * 1000


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///:memory:", "sqlite:///retour.db", "nonsense", "x://y/z"])
def test_an_address_that_cannot_be_one_is_an_error_of_the_file(address: str) -> None:
    """The error names the file and the key."""
    with pytest.raises(ConfigError, match=r"retour\.toml:store\.url: .*for example"):
        open_store(address, file="retour.toml")


def test_a_store_that_is_away_is_temporary(tmp_path: Path, database: Path) -> None:
    """A folder in its place, a damaged file, a lock that cannot be opened: try again later."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreUnavailable):
        open_store(url(tmp_path / "folder"))
    (tmp_path / "retour.db.lock").mkdir()
    with pytest.raises(StoreUnavailable), open_store(url(database)).writing():
        pass
    content = bytearray(database.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    database.write_bytes(content)
    with pytest.raises(StoreUnavailable, match="malformed"):
        open_store(url(database))


def test_a_database_locked_by_others_is_temporary(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody in the sqlite3 shell holds it: the writer gives up after a while, readers go on."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 50)
    ours, theirs = open_store(url(database)), sqlite3.connect(database, isolation_level=None)
    theirs.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"), ours.writing():
        pass
    with ours.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM fact")) == 0
    theirs.close()
    with ours.writing():
        pass
    ours.close()


def test_nothing_stays_open(database: Path) -> None:
    """Connections and descriptors of a store are given back, also after errors."""

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()
    before = descriptors()
    for _ in range(20):
        one = open_store(url(database))
        with pytest.raises(ZeroDivisionError), one.writing():
            raise ZeroDivisionError
        with one.reading(), one.reading():
            pass
        one.close()
    gc.collect()
    assert descriptors() <= before


def test_the_url_in_messages_has_no_password() -> None:
    """A database server's password is in no error and no list."""
    code = "from sqlalchemy.engine import make_url\nfrom retour_policy.store.database import Store\n"
    code += "s = Store.__new__(Store); s.url = 'postgresql+psycopg://retour:secret@db/retour'; print(s.name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "postgresql+psycopg://retour:***@db/retour"


def test_threads_of_a_process_take_turns(store: Store) -> None:
    """Two threads that write at once both come through; the lock is given back each time."""

    def add(n: int) -> None:
        for m in range(20):
            with store.writing() as connection:
                connection.execute(schema.address.insert().values(key=b"%d-%d" % (n, m), text=None))

    threads = [threading.Thread(target=add, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM address")) == 80
