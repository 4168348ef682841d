"""Cluster: a private PostgreSQL server in a temporary folder, which only answers at a unix socket there."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg

from lab.process import Child
from lab.wait import PATIENCE, wait_until
from retour_policy.store import migrate
from retour_policy.store.database import open_store

USER = "postgres"
"""Whom a server runs as where the tests are root's: PostgreSQL refuses root, and Debian's package makes that user."""
ROLE = "retour"
"""The role that owns the databases; it may do nothing else."""
TEMPLATE = "retour_template"
SETTINGS = {
    "listen_addresses": "''",
    "fsync": "off",  # what is tested here is not the server; tests of durability ask what it was told
    "shared_buffers": "16MB",
    "max_connections": "60",
    "max_wal_size": "64MB",
    "autovacuum_naptime": "10s",
    "log_line_prefix": "'%q%d: '",
}
_numbers = itertools.count(1)


class Cluster:
    """As a context manager. `settings` are added to postgresql.conf."""

    def __init__(
        self, folder: Path, settings: Mapping[str, str] | None = None, *, copy_of: Cluster | None = None
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._settings = dict(settings or {})
        self._copy_of = copy_of
        self._child: Child | None = None

    def __enter__(self) -> Cluster:
        self.folder.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER)
        if self._copy_of:
            self._run("pg_basebackup", "-D", self.data, "-h", self._copy_of.folder, "-U", USER, "-R", "-c", "fast")
        else:
            self._run(
                "initdb", "-D", self.data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"
            )
            self._ask_for_passwords()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        settings = SETTINGS | self._settings | {"unix_socket_directories": f"'{self.folder}'"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value.strip(chr(39))}")]
        self._child = _Server(
            [*as_user(), program("postgres"), "-D", str(self.data), *options], folder=self.folder, name="postgres"
        )
        self._child.__enter__()
        self._child.wait_answers(self.folder / ".s.PGSQL.5432")
        wait_until(self._is_ready, what="a PostgreSQL server that takes connections", seen=self._child.log)

    def stop(self) -> None:
        """Stop the server; connections are cut."""
        child, self._child = self._child, None
        if child:
            child.__exit__(None, None, None)

    def kill(self) -> None:
        """End the server as a crash of its host does."""
        assert self._child
        self._child.send_signal(signal.SIGQUIT)  # at once, without a checkpoint
        self._child.wait()
        self.stop()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def promote(self) -> None:
        """Make a replica the primary."""
        self._run("pg_ctl", "promote", "-D", self.data, "-w")

    def log(self) -> str:
        """What the server has logged."""
        return (self.folder / "postgres.log").read_text(errors="replace")

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute one statement as the superuser; its rows."""
        with psycopg.connect(host=str(self.folder), user=USER, dbname=database, autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def url(self, database: str, role: str = ROLE, **options: str) -> str:
        """The URL of one of its databases."""
        query = "&".join(f"{name}={value}" for name, value in ({"host": str(self.folder)} | options).items())
        return f"postgresql+psycopg://{role}@/{database}?{query}"

    def make_template(self) -> None:
        """Make the role, and a database with this version's tables, to be copied."""
        self.sql("CREATE ROLE retour LOGIN")
        self.sql("CREATE DATABASE retour_template OWNER retour")
        store = open_store(self.url(TEMPLATE), check=False)
        migrate.upgrade(store)
        store.close()

    def new_database(self, template: str = TEMPLATE) -> str:
        """Make a database of its own; its name."""
        name = f"retour_{next(_numbers)}"
        self.sql(f"CREATE DATABASE {name} OWNER {ROLE} TEMPLATE {template}")
        return name

    def drop(self, database: str) -> None:
        """Drop a database, whoever is connected."""
        self.sql(f"DROP DATABASE {database} WITH (FORCE)")

    def _ask_for_passwords(self) -> None:
        """Of the role "guarded" alone."""
        rules = self.data / "pg_hba.conf"
        rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")

    def _is_ready(self) -> bool:
        done = subprocess.run([program("pg_isready"), "-q", "-h", self.folder], timeout=PATIENCE, check=False)
        return done.returncode == 0

    def _run(self, name: str, *words: str | Path) -> str:
        argv = [*as_user(), program(name), *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, cwd=self.folder, timeout=PATIENCE, check=False)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr}{done.stdout}")
        return done.stdout.strip()


class _Server(Child):
    """A PostgreSQL server waits for its clients at SIGTERM, and cuts them off at SIGINT."""

    def stop(self, timeout: float = PATIENCE) -> int:
        self.send_signal(signal.SIGINT)
        return self.wait(timeout)


def as_user() -> list[str]:
    """Words before a command that PostgreSQL refuses to run as root."""
    if os.geteuid():
        return []
    entry = pwd.getpwnam(USER)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups", "--"]


def program(name: str) -> str:
    """The newest of that name that is installed; Debian keeps each version in a folder of its own."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else shutil.which(name) or name
