"""A server in trouble: errors are temporary, what was committed stays, and no restart of ours is needed."""

from __future__ import annotations

import contextlib
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from lab.cluster import USER, Cluster
from lab.pgbouncer import POOL_SIZE, PgBouncer
from lab.process import workspace
from retour_policy.errors import StoreUnavailable
from retour_policy.store import postgresql, schema
from retour_policy.store.database import open_store
from retour_policy.store.writer import Writer

PATIENCE_MS = 60_000
FILE_SYSTEM_OCTETS = 24_000_000


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    """The name of a database with this version's tables."""
    name = cluster.new_database()
    yield name
    cluster.drop(name)


class Service:
    """What a service does with its store, and what it was told of it."""

    def __init__(self, url: str) -> None:
        self.store = open_store(url)
        self.told: list[str] = []
        self.store.on_change = self.told.append
        self.writer = Writer(self.store)
        self.committed: set[bytes] = set()
        self._number = 0

    def commit(self) -> None:
        """Write one row; the caller hears of it once it is durable."""
        self._number += 1
        key = self._number.to_bytes(16, "big")
        self.writer.run(lambda connection: _add(connection, key), PATIENCE_MS)
        self.committed.add(key)

    def read(self) -> set[bytes]:
        """What is in the store."""
        with self.store.reading() as connection:
            return {bytes(key) for key in connection.scalars(select(schema.address.c.key))}

    def assert_works(self) -> None:
        """It writes and reads, and has what it committed."""
        self.commit()
        assert self.read() >= self.committed

    def close(self) -> None:
        assert self.writer.close()
        self.store.close()


@pytest.fixture
def service(cluster: Cluster, database: str) -> Iterator[Service]:
    """A service that works."""
    service = Service(cluster.url(database))
    service.assert_works()
    yield service
    service.close()


def _add(connection: Connection, key: bytes) -> None:
    connection.execute(insert(schema.address), {"key": key})


def cut(cluster: Cluster, database: str) -> None:
    """Cut all connections to a database."""
    statement = f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{database}'"
    assert all(done for (done,) in cluster.sql(statement))


def test_an_idle_connection_that_was_cut_is_not_noticed(service: Service, cluster: Cluster, database: str) -> None:
    """By a firewall, an operator, a server that was restarted at night: mail that comes next is taken at once."""
    cut(cluster, database)
    service.assert_works()
    assert service.told == []


def test_a_connection_that_is_cut_in_a_transaction_undoes_it(service: Service, cluster: Cluster, database: str) -> None:
    """The caller hears of it, for the group was not committed; the next one is."""

    def unlucky(connection: Connection) -> None:
        _add(connection, b"unlucky")
        cut(cluster, database)
        _add(connection, b"more")

    with pytest.raises(StoreUnavailable):
        service.writer.run(unlucky, PATIENCE_MS)
    service.assert_works()
    assert service.read() == service.committed
    assert len(service.told) == 2 and service.told[0] and service.told[1] == ""


def test_a_restart_of_the_server_is_survived(service: Service, cluster: Cluster) -> None:
    """While it is away each caller hears so once, and it is told once; then all goes on."""
    cluster.stop()
    try:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                service.commit()
            with pytest.raises(StoreUnavailable):
                service.read()
    finally:
        cluster.start()
    service.store.look()  # what a service does every few seconds
    assert len(service.told) == 2 and service.told[0] and service.told[1] == ""
    service.assert_works()


def test_a_server_that_takes_no_writes_puts_mail_off(service: Service, cluster: Cluster, database: str) -> None:
    """It answers, as a replica does, and may be read; when it takes writes, or another does, all goes on."""
    cluster.sql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    cut(cluster, database)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="takes no writes"):
            service.commit()
        assert service.read() == service.committed
    cluster.sql(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    service.assert_works()
    assert len(service.told) == 2


def test_a_server_that_becomes_read_only_in_a_transaction_is_left(service: Service, cluster: Cluster) -> None:
    """No item of the group is taken for faulty, and the next connection may meet another server."""
    with pytest.raises(StoreUnavailable):
        service.writer.run(lambda c: (c.exec_driver_sql("SET TRANSACTION READ ONLY"), _add(c, b"unlucky")), PATIENCE_MS)
    service.assert_works()


def test_no_connection_left_is_temporary(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of our own: a reader waits a little, then hears so; when one is free, it is used."""
    opened = service.store._current()
    monkeypatch.setattr(opened.reader.pool, "_timeout", 0.1)
    with contextlib.ExitStack() as stack:
        for _ in range(postgresql.READ_CONNECTIONS + postgresql.MORE_READ_CONNECTIONS):
            stack.enter_context(service.store.reading())
        with pytest.raises(StoreUnavailable), service.store.reading():
            pass
        service.commit()  # the writer has a connection of its own
    service.assert_works()
    assert service.told == []


def test_a_server_with_no_connection_left_is_temporary(service: Service, cluster: Cluster, database: str) -> None:
    """`too many connections`: put off, and taken when there is one."""
    cluster.sql(f"ALTER DATABASE {database} CONNECTION LIMIT 0")
    cut(cluster, database)
    with pytest.raises(StoreUnavailable, match="too many connections"):
        service.commit()
    cluster.sql(f"ALTER DATABASE {database} CONNECTION LIMIT -1")
    service.assert_works()


def test_another_database_in_its_place_is_examined(service: Service, cluster: Cluster, database: str) -> None:
    """Newer tables, restored or migrated under a running service: nothing is written until they fit again."""
    cluster.sql("UPDATE retour_schema SET version_num = '0999'", database)
    cut(cluster, database)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="is newer than this Retour's"):
            service.commit()
        with pytest.raises(StoreUnavailable, match="is newer than this Retour's"):
            service.read()
    cluster.sql(f"UPDATE retour_schema SET version_num = '{schema.REVISION}'", database)
    service.assert_works()
    assert len(service.told) == 2


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of a few megabytes, that PostgreSQL may write to. Needs root."""
    with workspace() as folder:
        options = f"size={FILE_SYSTEM_OCTETS},uid={pwd.getpwnam(USER).pw_uid}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_of_the_server_is_temporary(cluster: Cluster) -> None:
    """No item is taken for faulty; what was committed is there, and work goes on when there is room."""
    with small_disk() as disk:
        cluster.sql(f"CREATE TABLESPACE small LOCATION '{disk}'")
        database = cluster.new_database("retour_template TABLESPACE small")
        service = Service(cluster.url(database))
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(4096))
        bulky = [{"key": b"bulky %d" % n, "text": "x" * 300} for n in range(1000)]
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="No space left on device"):
                service.writer.run(lambda c: c.execute(insert(schema.address), bulky), PATIENCE_MS)
        filler.unlink()
        service.assert_works()
        assert service.read() == service.committed
        service.close()
        cluster.drop(database)
        cluster.sql("DROP TABLESPACE small")


def test_a_replica_that_was_promoted_takes_over() -> None:
    """Two servers, one URL: while only the replica answers, mail is put off; then it has all that was acknowledged."""
    with workspace() as folder, contextlib.ExitStack() as stack:
        one = stack.enter_context(Cluster(folder / "one"))
        one.make_template()
        database = one.new_database()
        two = stack.enter_context(Cluster(folder / "two", copy_of=one))
        one.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        one.sql("SELECT pg_reload_conf()")
        hosts = f"host={one.folder}:5432&host={two.folder}:5432&target_session_attrs=read-write"
        service = Service(f"postgresql+psycopg://retour@/{database}?{hosts}")
        for _ in range(5):
            service.assert_works()
        one.kill()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                service.commit()
        two.promote()
        service.assert_works()
        service.close()


def test_a_pooler_may_stand_between(cluster: Cluster, database: str) -> None:
    """PgBouncer in transaction mode: each transaction may meet another server process than the one before.

    Many more clients than it has connections, each statement often enough that the driver would prepare it.
    """
    with workspace() as folder, PgBouncer(folder, cluster) as pooler:
        services = [Service(pooler.url(database)) for _ in range(3 * POOL_SIZE)]
        for _ in range(8):
            for number, service in enumerate(services):
                service._number = max(service._number, number * 1000)
                service.assert_works()
        with services[0].store.writing() as connection:
            driver = connection.connection.dbapi_connection
            assert driver is not None and driver.prepare_threshold is None
        cut(cluster, database)
        for service in services:
            with contextlib.suppress(StoreUnavailable):  # the pooler tells of the cut to whom it served last
                service.commit()
            service.assert_works()
            service.close()
