"""The files of the store removed or replaced while it is open: nothing is acknowledged that is not in the file."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, insert, select

from retour_policy.errors import StoreDamaged, StoreUnavailable
from retour_policy.store import migrate, schema
from retour_policy.store.database import Store, open_store
from retour_policy.store.writer import Writer


@pytest.fixture
def told(store: Store) -> list[str]:
    """What the store says about its files; "" when all is well again."""
    found: list[str] = []
    store.on_change = found.append
    return found


def add(key: bytes) -> Callable[[Connection], bytes]:
    def work(connection: Connection) -> bytes:
        connection.execute(insert(schema.address).values(key=key, text=key.decode()))
        return key

    return work


SERVICE = """
import sys
from sqlalchemy import insert, select
from retour_policy.store import schema
from retour_policy.store.database import open_store
store = open_store("sqlite:///" + sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    try:
        if line.strip():
            with store.writing() as connection:
                connection.execute(insert(schema.address).values(key=line.strip().encode(), text="?"))
        with store.reading() as connection:
            print(*(key.decode() for key in connection.scalars(select(schema.address.c.key))), flush=True)
    except Exception as error:
        print("!", error, flush=True)
store.close()
"""


class Service:
    """Another process that has the database open, as each service of Retour has."""

    def __init__(self, database: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._hear() == "ready"

    def write(self, key: bytes) -> set[bytes]:
        """Write one, and say what it reads then."""
        assert self._process.stdin
        print(key.decode(), file=self._process.stdin, flush=True)
        heard = self._hear()
        assert not heard.startswith("!"), heard
        return {word.encode() for word in heard.split()}

    def read(self) -> set[bytes]:
        return self.write(b"")

    def close(self) -> None:
        self._process.communicate()

    def _hear(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@pytest.fixture
def service(database: Path) -> Iterator[Service]:
    service = Service(database)
    yield service
    service.close()


LOOK = """
import sqlite3, sys
connection = sqlite3.connect("file:" + sys.argv[1] + "?mode=rw", uri=True, isolation_level=None)
for statement in sys.argv[2:]:
    for (value,) in connection.execute(statement):
        print(value)
"""


def elsewhere(path: Path, *statements: str) -> list[str]:
    """What a program of its own is told: all connections of one process share what they know of a log."""
    command = [sys.executable, "-c", LOOK, path, *statements]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def keys(path: Path) -> set[bytes]:
    """What somebody who opens the file now finds in it; it must be whole."""
    found = elsewhere(path, "PRAGMA integrity_check", "SELECT CAST(key AS TEXT) FROM address")
    assert found[0] == "ok"
    return {key.encode() for key in found[1:]}


def read(store: Store) -> set[bytes]:
    with store.reading() as connection:
        return set(connection.scalars(select(schema.address.c.key)))


def files(database: Path) -> list[Path]:
    return [database.with_name(database.name + end) for end in ("", "-wal", "-shm")]


def copy_of(database: Path, name: str) -> Path:
    """A backup, as SQLite makes one."""
    path = database.with_name(name)
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    return path


def delete(database: Path) -> None:
    for path in files(database):
        path.unlink()


def replace(database: Path) -> None:
    backup = copy_of(database, "backup.db")
    delete(database)
    backup.rename(database)


def replace_by_link(database: Path) -> None:
    copy_of(database, "elsewhere.db")
    delete(database)
    database.symlink_to("elsewhere.db")


def remove_log(database: Path) -> None:
    files(database)[1].unlink()


def remove_log_and_index(database: Path) -> None:
    for path in files(database)[1:]:
        path.unlink()


def remove_index(database: Path) -> None:
    files(database)[2].unlink()


HARMS = (delete, replace, replace_by_link, remove_log, remove_log_and_index, remove_index)
each_harm = pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)


@each_harm
def test_what_is_acknowledged_is_in_the_file_that_is_there(
    group_writer: Writer, database: Path, harm: Callable[[Path], None]
) -> None:
    """Whatever happens to the files between two commits."""
    acknowledged = {group_writer.run(add(b"before"), 10_000)}
    harm(database)
    for n in range(5):
        try:
            acknowledged.add(group_writer.run(add(b"%d" % n), 10_000))
        except StoreUnavailable:
            continue
    if not database.exists():
        assert acknowledged == {b"before"}
    else:
        assert acknowledged <= keys(database) and b"4" in acknowledged


@each_harm
def test_a_transaction_in_whose_midst_the_files_go_is_not_done(
    store: Store, database: Path, harm: Callable[[Path], None]
) -> None:
    """It would have been committed into a file that nobody finds any more."""
    with store.writing() as connection:
        add(b"before")(connection)
    with pytest.raises(StoreUnavailable), store.writing() as connection:
        add(b"lost")(connection)
        harm(database)
    assert not database.exists() or keys(database) == {b"before"}


each_loss_of_the_log = pytest.mark.parametrize(
    "harm", [remove_log, remove_log_and_index, remove_index], ids=lambda harm: harm.__name__
)


@each_loss_of_the_log
def test_a_removed_log_takes_nothing_with_it(
    store: Store, database: Path, service: Service, harm: Callable[[Path], None]
) -> None:
    """What was acknowledged before may be in the log alone: it is saved, and all go on with one new log."""
    with store.writing() as connection:
        add(b"own")(connection)
    acknowledged = {b"own", *service.write(b"other")}
    harm(database)
    late = None
    for n in range(20):
        with store.writing() as connection:
            add(b"own%d" % n)(connection)
        acknowledged |= {b"own%d" % n, b"other%d" % n}
        service.write(b"other%d" % n)
        if late is None:
            late = Service(database)
        acknowledged.add(b"late%d" % n)
        late.write(b"late%d" % n)
    assert acknowledged == read(store) == service.read() == late.read() == keys(database)
    late.close()
    store.close()
    service.close()
    assert keys(database) == acknowledged


@each_loss_of_the_log
def test_who_only_looks_takes_no_commit_away(store: Store, database: Path, harm: Callable[[Path], None]) -> None:
    """The log is removed, and some program opens the database and ends, before a service notices."""
    with store.writing() as connection:
        add(b"before")(connection)
    harm(database)
    subprocess.run([sys.executable, "-c", LOOK, database, "SELECT count(*) FROM sqlite_master"], capture_output=True)
    with store.writing() as connection:
        add(b"after")(connection)
    assert keys(database) == read(store) == {b"before", b"after"}


@each_loss_of_the_log
@pytest.mark.parametrize("others", [False, True], ids=["alone", "another opens it"])
def test_a_log_that_goes_in_the_moment_of_the_commit(
    store: Store, database: Path, harm: Callable[[Path], None], others: bool
) -> None:
    """After the last look, before the commit: then it is in the file that is there, or was not acknowledged."""
    opened: list[Service] = []

    def between(_: Connection) -> None:
        harm(database)
        if others:
            opened.append(Service(database))
            opened[0].read()  # and stays

    with store.writing() as connection:
        add(b"before")(connection)
    store.overwrite_log()
    event.listen(store._writer, "commit", between, once=True)
    acknowledged = {b"before"}
    try:
        with store.writing() as connection:
            add(b"between")(connection)
        acknowledged.add(b"between")
    except StoreUnavailable:
        assert others
    with store.writing() as connection:
        add(b"after")(connection)
    assert acknowledged | {b"after"} <= keys(database)
    assert read(store) == keys(database)
    for one in opened:
        one.close()


def test_what_another_process_began_stays(store: Store, database: Path) -> None:
    """A service alone that notices late does not remove the log to which another process committed and ended."""
    store.overwrite_log()
    with store.writing() as connection:
        add(b"1")(connection)
    remove_log_and_index(database)
    elsewhere(database, "INSERT INTO address (key, text) VALUES (X'32', '2')")
    with store.writing() as connection:
        add(b"3")(connection)
    assert {b"2", b"3"} <= keys(database)
    store.close()
    assert {b"2", b"3"} <= keys(database)


def test_what_another_process_began_stays_when_a_service_ends(store: Store, database: Path) -> None:
    """Also where the service never noticed."""
    with store.writing() as connection:
        add(b"1")(connection)
    store.overwrite_log()
    remove_log_and_index(database)
    elsewhere(database, "INSERT INTO address (key, text) VALUES (X'32', '2')")
    store.close()
    assert keys(database) == {b"1", b"2"}


@each_loss_of_the_log
def test_who_ends_saves_what_is_in_a_removed_log(
    store: Store, database: Path, service: Service, harm: Callable[[Path], None]
) -> None:
    """Though another process has the database open too, and both are killed or stopped before they notice."""
    with store.writing() as connection:
        add(b"1")(connection)
    harm(database)
    store.close()
    assert keys(database) == {b"1"}


def test_a_reader_keeps_its_process_from_a_wrong_index(store: Store, database: Path) -> None:
    """As long as one reads with an index that was removed, nothing is acknowledged; then all goes on."""
    with store.writing() as connection:
        add(b"1")(connection)
    with store.reading() as reader:
        remove_log_and_index(database)
        with pytest.raises(StoreUnavailable, match="still in use here"), store.writing():
            pass
        assert reader.scalar(select(schema.address.c.key)) == b"1"
    with store.writing() as connection:
        add(b"2")(connection)
    elsewhere(database, "INSERT INTO address (key, text) VALUES (X'33', '3')")
    assert keys(database) == read(store) == {b"1", b"2", b"3"}


@pytest.mark.parametrize("harm", [delete, replace, replace_by_link])
def test_readers_do_not_answer_from_a_file_that_is_gone(
    store: Store, database: Path, harm: Callable[[Path], None]
) -> None:
    """A suppression in a restored database is not overlooked because a reader was open."""
    assert read(store) == set()
    with store.writing() as connection:
        add(b"one")(connection)
    harm(database)
    if database.exists():
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("INSERT INTO address (key, text) VALUES (X'41', 'a')")
    for _ in range(2):
        try:
            seen = read(store)
        except StoreUnavailable:
            seen = {b"nothing was answered"}
        assert seen == (keys(database) if database.exists() else seen)
    assert database.exists() or seen == {b"nothing was answered"}


def test_no_empty_database_is_made_in_its_place(store: Store, database: Path, told: list[str]) -> None:
    """While the file is away all is temporary; when the right one is back, all goes on without a restart."""
    with store.writing() as connection:
        add(b"one")(connection)
    away = [path.rename(path.with_name(f"away-{path.name}")) for path in files(database)]
    for _ in range(3):
        with pytest.raises(StoreUnavailable), store.writing():
            pass
        with pytest.raises(StoreUnavailable), store.reading():
            pass
    assert not database.exists() and len(told) == 1
    for path, back in zip(away, files(database), strict=True):
        path.rename(back)
    assert read(store) == {b"one"}
    assert told == ["it was removed", ""]


@pytest.mark.parametrize("other", ["empty", "older", "foreign", "text"])
def test_a_file_in_its_place_is_examined_as_at_the_start(
    store: Store, database: Path, told: list[str], other: str
) -> None:
    """An empty database, one without migrations, somebody else's: not used, until it is put right."""
    delete(database)
    if other == "text":
        database.write_text("buy milk\n" * 1000)
    else:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("CREATE TABLE retour_schema (version_num)" if other == "older" else "SELECT 1")
            if other == "older":
                connection.execute("INSERT INTO retour_schema VALUES ('0001')")
            if other == "foreign":
                connection.execute("CREATE TABLE orders (id)")
    for _ in range(3):
        with pytest.raises(StoreUnavailable), store.writing() as connection:
            add(b"one")(connection)
    assert len(told) == 2 and told[0] == "another file has taken its place", told
    delete_if_there(database)
    fresh = open_store(f"sqlite:///{database}", check=False)
    migrate.upgrade(fresh)
    fresh.close()
    with store.writing() as connection:
        add(b"one")(connection)
    assert keys(database) == {b"one"} and told[-1] == ""


def delete_if_there(database: Path) -> None:
    for path in files(database):
        path.unlink(missing_ok=True)


def test_a_log_of_the_old_file_is_not_written_into_the_new_one(store: Store, database: Path, told: list[str]) -> None:
    """A backup was moved into place, and the log left beside it: SQLite would mix the two into a broken one."""
    backup = copy_of(database, "backup.db")
    with store.writing() as connection:
        for n in range(300):
            add(b"%d" % n)(connection)
    backup.rename(database)
    for _ in range(2):
        with pytest.raises(StoreUnavailable), store.reading():
            pass
    assert f"remove {database}-wal and {database}-shm, or put the file back" in told[-1]
    remove_log_and_index(database)
    assert read(store) == keys(database) == set() and told[-1] == ""


def test_a_damaged_database_leaves_its_log_to_no_other(store: Store, database: Path, service: Service) -> None:
    """It was closed because of the damage; the backup is moved into place, and the log left beside it."""
    backup = copy_of(database, "backup.db")
    with store.writing() as connection:
        add(b"1")(connection)
    service.write(b"2")
    with pytest.raises(StoreDamaged), store.writing() as connection:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error
    backup.rename(database)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="belongs to the one before"), store.writing():
            pass
    remove_log_and_index(database)
    with store.writing() as connection:
        add(b"3")(connection)
    assert keys(database) == read(store) == {b"3"}


def test_a_database_without_a_log_so_far_loses_nothing_later(database: Path) -> None:
    """A `.dump` that was put back gets its log at the first commit: that too is saved when it is removed."""
    elsewhere(database, "PRAGMA journal_mode = DELETE")
    store, service = open_store(f"sqlite:///{database}"), Service(database)
    service.read()
    with store.writing() as connection:
        add(b"1")(connection)
    service.write(b"2")
    for n in range(3):
        remove_log(database)
        with store.writing() as connection:
            add(b"%da" % n)(connection)
        service.write(b"%db" % n)
    expected = {b"1", b"2", b"0a", b"0b", b"1a", b"1b", b"2a", b"2b"}
    assert keys(database) == read(store) == service.read() == expected
    store.close()
    service.close()
    assert keys(database) == expected


def test_a_lock_that_was_replaced_holds_nobody_up(store: Store, database: Path) -> None:
    """It is only where writers queue: without it SQLite's own lock keeps them apart."""
    lock = database.with_name("retour.db.lock")
    for n in range(3):
        with store.writing() as connection:
            add(b"%d" % n)(connection)
            lock.unlink()
    assert keys(database) == {b"0", b"1", b"2"}


def test_nothing_of_the_old_files_stays_open(store: Store, database: Path) -> None:
    """Also not by those who were reading when they went: their room on the disk would not be free again."""
    with store.reading(), store.reading():
        replace(database)
        with store.writing() as connection:
            add(b"one")(connection)
    opened = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert [name for name in opened if str(database) in name and "deleted" in name] == []


def test_a_rebuilt_place_is_found_again(store: Store, database: Path, tmp_path: Path) -> None:
    """The whole folder was restored by its backup."""
    with store.writing() as connection:
        add(b"one")(connection)
    backup = copy_of(database, "backup.db")
    folder = database.parent
    shutil.move(backup, tmp_path.parent / "kept.db")
    shutil.rmtree(folder)
    with pytest.raises(StoreUnavailable), store.writing():
        pass
    folder.mkdir()
    shutil.move(tmp_path.parent / "kept.db", database)
    assert read(store) == {b"one"}
