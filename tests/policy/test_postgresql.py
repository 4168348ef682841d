"""PostgreSQL: the same tables, as durable as SQLite, and refused by name where it cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from lab.cluster import Cluster
from retour_policy.errors import ConfigError, StoreRefused, StoreUnavailable
from retour_policy.store import migrate, postgresql, schema
from retour_policy.store.database import Store, open_store
from retour_policy.store.writer import Writer

POLICY = {"at": 1, "content": {}}


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    """The name of a database with this version's tables."""
    name = cluster.new_database()
    yield name
    cluster.drop(name)


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[str]:
    """The name of a database without any."""
    name = cluster.new_database("template0")
    yield name
    cluster.drop(name)


@pytest.fixture
def store(cluster: Cluster, database: str) -> Iterator[Store]:
    """An empty store."""
    store = open_store(cluster.url(database))
    yield store
    store.close()


def test_the_migrations_lead_to_the_models(store: Store) -> None:
    """Alembic finds no difference between the migrated database and the code's tables, types and lengths included.

    Only what the comments say was put better since.
    """
    with store.reading() as connection:
        options = {"compare_type": True, "version_table": schema.VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        found = [change for change in compare_metadata(context, schema.metadata) if _kind(change) != "modify_comment"]
        assert found == []


def _kind(change: Any) -> str:
    """Changes of one column come in a list."""
    return str(change[0][0] if isinstance(change, list) else change[0])


def test_every_migration_can_be_the_last(cluster: Cluster, empty: str) -> None:
    """An upgrade finds nothing to do the second time, and the revision is what the code needs."""
    store = open_store(cluster.url(empty), check=False)
    assert store.revision() is None
    migrate.upgrade(store)
    migrate.upgrade(store)
    store.check()
    assert store.revision() == schema.REVISION
    store.close()


def test_a_commit_is_on_the_servers_disk_whatever_the_server_is_told(cluster: Cluster, database: str) -> None:
    """A role or database with synchronous_commit = off would lose what was answered 250; what waits for more stays."""
    for told, is_so in (("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")):
        cluster.sql(f"ALTER DATABASE {database} SET synchronous_commit = {told}")
        store = open_store(cluster.url(database))
        with store.writing() as connection:
            assert connection.scalar(text("SHOW synchronous_commit")) == is_so
        store.close()


def test_a_host_that_dies_in_a_transaction_holds_nobody_up_for_ever(store: Store) -> None:
    """The server ends the transaction, and lets go of the rows that it had locked."""
    with store.writing() as connection:
        assert connection.scalar(text("SHOW idle_in_transaction_session_timeout")) == "1min"


def test_a_reader_sees_one_state_and_cannot_write(store: Store) -> None:
    """What is committed meanwhile does not show, and a write is refused."""
    count = text("SELECT count(*) FROM policy")
    with store.reading() as connection:
        assert connection.scalar(count) == 0
        with store.writing() as other:
            other.execute(insert(schema.policy), POLICY | {"hash": b"a"})
        assert connection.scalar(count) == 0
    with pytest.raises(StoreUnavailable), store.reading() as connection:
        connection.execute(insert(schema.policy), POLICY | {"hash": b"b"})


@pytest.mark.parametrize(
    "values",
    [
        {"hash": None},  # an integrity constraint
        {"hash": b"x", "at": 2**70},  # a number out of range
        {"hash": b"x", "content": object()},  # what cannot be bound
    ],
)
def test_a_value_that_the_server_refuses_is_the_items_own_fault(store: Store, values: dict[str, object]) -> None:
    """Its neighbours of the same group are committed; it is not tried for ever."""
    writer = Writer(store)
    good = [
        writer.submit(lambda c, n=n: c.execute(insert(schema.policy), POLICY | {"hash": bytes([n])})) for n in (1, 2)
    ]
    bad = writer.submit(lambda c: c.execute(insert(schema.policy), POLICY | values))
    more = writer.submit(lambda c: c.execute(insert(schema.policy), POLICY | {"hash": b"\3"}))
    for one in (*good, more):
        one.result(60)
    with pytest.raises((SQLAlchemyError, TypeError)):
        bad.result(60)
    writer.close()
    with store.reading() as connection:
        assert sorted(connection.scalars(select(schema.policy.c.hash))) == [b"\1", b"\2", b"\3"]


def test_a_server_that_is_far_away_does_not_make_groups_small(store: Store) -> None:
    """Its answers take their time, and no other process waits meanwhile: the more is to be done with each question."""
    writer, sizes = Writer(store), list[int]()

    def work(connection: Connection, items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        connection.execute(text("SELECT pg_sleep(0.02)"))  # more than a group may take
        return items

    waiting = [writer.submit_to(work, number) for number in range(200)]
    for one in waiting:
        one.result(60)
    writer.close()
    assert max(sizes) >= 16, sizes


def test_a_right_or_table_that_lacks_is_temporary(store: Store, cluster: Cluster, database: str) -> None:
    """Somebody may be changing the database: mail must wait for that, and not be taken for faulty."""
    writer = Writer(store)
    cluster.sql("ALTER TABLE unread RENAME TO away", database)
    with pytest.raises(StoreUnavailable):
        writer.run(lambda c: c.execute(select(schema.unread)), 60_000)
    cluster.sql("ALTER TABLE away RENAME TO unread", database)
    writer.run(lambda c: c.execute(select(schema.unread)), 60_000)
    writer.close()


def test_another_encoding_is_refused(cluster: Cluster) -> None:
    """A database in Latin-1 could not hold the addresses and replies of the world; so nothing is made in it."""
    cluster.sql("CREATE DATABASE latin OWNER retour ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    for call in (
        lambda: open_store(cluster.url("latin")),
        lambda: migrate.upgrade(open_store(cluster.url("latin"), check=False)),
    ):
        with pytest.raises(StoreRefused, match="encoding is LATIN1, and mail needs UTF8"):
            call()
    cluster.drop("latin")


def test_an_old_server_is_refused(cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its version and the one that is needed."""
    monkeypatch.setattr(postgresql, "MIN_SERVER_VERSION", 99)
    with pytest.raises(StoreRefused, match=r"PostgreSQL \d+ is too old; Retour needs 99 or newer"):
        open_store(cluster.url(database))


def test_who_may_not_is_refused_by_name(cluster: Cluster, database: str, empty: str) -> None:
    """A role that lacks a right on one table, or on all, or may make none; one that is not there; no database."""
    cluster.sql("CREATE ROLE guest LOGIN")
    guest = cluster.url(database, role="guest")
    with pytest.raises(StoreRefused, match="permission denied for table retour_schema"):
        open_store(guest)
    cluster.sql("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO guest", database)
    cluster.sql("REVOKE DELETE ON unread FROM guest", database)
    with pytest.raises(StoreRefused, match="this role may not read and write unread; make it the owner"):
        open_store(guest)
    with pytest.raises(StoreRefused, match="permission denied for schema public"):
        migrate.upgrade(open_store(cluster.url(empty, role="guest"), check=False))
    with pytest.raises(StoreRefused, match='role "nobody" does not exist'):
        open_store(cluster.url(database, role="nobody"))
    with pytest.raises(StoreRefused, match='database "nowhere" does not exist'):
        open_store(cluster.url("nowhere"))
    cluster.sql("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM guest", database)
    cluster.sql("DROP ROLE guest")


def test_an_empty_or_foreign_database_is_refused(cluster: Cluster, empty: str) -> None:
    """As with SQLite: by what it is, and what to do."""
    with pytest.raises(StoreRefused, match="the database is empty; run `retour db upgrade`"):
        open_store(cluster.url(empty))
    cluster.sql("CREATE TABLE invoices (id int)", empty)
    cluster.sql("GRANT SELECT ON invoices TO retour", empty)
    with pytest.raises(StoreRefused, match=r"holds tables that are not Retour's \(invoices\)"):
        open_store(cluster.url(empty))


def test_a_server_that_is_not_there_is_temporary(tmp_path: Path) -> None:
    """In one line, which names the database and what is wrong."""
    with pytest.raises(StoreUnavailable) as raised:
        open_store(f"postgresql+psycopg://retour@/retour?host={tmp_path}")
    assert "\n" not in str(raised.value) and "No such file" in str(raised.value)
    assert str(raised.value).startswith("postgresql+psycopg://retour@/retour?host=")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql+psycopg://retour:secret@db/retour", "must not contain a password"),
        ("postgresql+psycopg://retour@db/retour?password=secret", "must not contain a password"),
        ("postgresql+psycopg://retour@db/retour?passfile=/nowhere/pgpass", "/nowhere/pgpass: No such file"),
        ("postgresql+asyncpg://retour@db/retour", "is not the URL of a database"),
        ("mysql://retour@db/retour", "is not the URL of a database"),
        ("postgresql+psycopg://retour@db:port/retour", "is not the URL of a database"),
    ],
)
def test_a_url_that_cannot_be_right_is_refused(url: str, words: str) -> None:
    """By the key, and the password is not repeated."""
    with pytest.raises(ConfigError, match=words) as raised:
        open_store(url, file="retour.toml", check=False)
    assert str(raised.value).startswith("retour.toml:store.url: ") and "secret" not in str(raised.value)


def test_an_option_that_libpq_does_not_know_is_refused(cluster: Cluster, database: str) -> None:
    """It will not know it tomorrow either."""
    with pytest.raises(StoreRefused, match='invalid connection option "colour"'):
        open_store(cluster.url(database, colour="green"))


def test_the_password_comes_from_a_file_or_a_service(
    cluster: Cluster, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that others can read is named: libpq would pass over it. Without the password the role is refused."""
    cluster.sql("CREATE ROLE guarded LOGIN PASSWORD 'p:ss' IN ROLE retour")
    with pytest.raises(StoreRefused, match="no password supplied"):
        open_store(cluster.url(database, role="guarded"))
    file = tmp_path / "pgpass"
    file.write_text("*:*:*:guarded:p\\:ss\n")
    file.chmod(0o640)
    with pytest.raises(ConfigError, match=f"others can use {file}.*chmod 0600"):
        open_store(cluster.url(database, role="guarded", passfile=str(file)))
    file.chmod(0o600)
    open_store(cluster.url(database, role="guarded", passfile=str(file))).close()
    file.write_text("*:*:*:guarded:wrong\n")
    with pytest.raises(StoreRefused, match="password authentication failed"):
        open_store(cluster.url(database, role="guarded", passfile=str(file)))
    service = tmp_path / "pg_service.conf"
    service.write_text(f"[retour]\nhost={cluster.folder}\ndbname={database}\nuser=guarded\npassword=p:ss\n")
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    open_store("postgresql+psycopg:///?service=retour").close()
    with pytest.raises(StoreRefused, match='definition of service "other" not found'):
        open_store("postgresql+psycopg:///?service=other")
    cluster.sql("DROP ROLE guarded")
