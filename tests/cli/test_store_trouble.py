"""A store that is not there, not ours or not free: which exit status, and what to do."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.wait import PATIENCE

A = "anna@example.net"
WRITING = [["suppressions", "add", A], ["suppressions", "remove", A], ["token", "make", "--stream", "news", "--to", A]]
COMMANDS = [["check"], ["events"], ["address", "show", A], ["suppressions", "list"], ["db", "status"], *WRITING]
IMPATIENT = """
from retour_cli import context
from retour_cli.main import main
from retour_policy.store import sqlite
context.STORE_TIMEOUT_MS = 300
sqlite.BUSY_TIMEOUT_MS = 100
main(prog_name="retour")
"""


@pytest.mark.parametrize("words", [*COMMANDS, ["db", "upgrade"]], ids=" ".join)
@pytest.mark.parametrize("kind", ["newer", "foreign", "no database"])
def test_a_database_that_cannot_be_used_is_refused(office: Any, words: list[str], kind: str) -> None:
    """Newer, somebody else's or none: exit status 78, what to run or to change, and the file as it was."""
    path = office.home / "retour.db"
    if kind == "newer":
        office.write(lambda c: c.exec_driver_sql("UPDATE retour_schema SET version_num = '0999'"))
    else:
        for other in office.home.glob("retour.db*"):
            other.unlink()
    if kind == "foreign":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE orders (id)")
    elif kind == "no database":
        path.write_text("buy milk\n" * 500)
    before = path.read_bytes()
    result = office(*words, status=78)
    hint = {"newer": "install that newer Retour", "foreign": "`retour db upgrade`", "no database": "store.url"}[kind]
    assert hint in result.stderr and path.read_bytes() == before


@pytest.mark.parametrize("words", WRITING, ids=" ".join)
@pytest.mark.parametrize("by", ["our lock", "sqlite"])
def test_a_store_that_others_hold_is_75(office: Any, words: list[str], by: str) -> None:
    """A command does not wait without limit: try again later, and nothing was done.

    In a process of its own, whose end is the end of the thread that waits for the lock: here it would come to write
    when the lock is free, into a folder that is just being removed.
    """
    with contextlib.ExitStack() as stack:
        if by == "our lock":
            lock = stack.enter_context((office.home / "retour.db.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        else:
            other = stack.enter_context(
                contextlib.closing(sqlite3.connect(office.home / "retour.db", isolation_level=None))
            )
            other.execute("BEGIN IMMEDIATE")
        command = [sys.executable, "-c", IMPATIENT, *words, "--config", office.config]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (75, ""), done.stderr
        assert done.stderr.startswith("retour: ")
        assert office("events", status=1).stderr == "no facts found\n"
    assert office.json("suppressions", "list") == []


def test_a_store_that_cannot_be_opened_is_75(office: Any) -> None:
    """An unprivileged user who may not enter the database's folder: exit status 75, in the process itself."""
    if os.geteuid() != 0:
        return
    os.chown(office.home / "keys.toml", 65534, 65534)
    office.config.chmod(0o644)
    code = "import os\nimport retour_cli.commands.{0}\nfrom retour_cli.main import main\n"
    code += "os.setgroups([]); os.setgid(65534); os.setuid(65534)\nmain(prog_name='retour')"
    for words in (["events"], ["suppressions", "add", A]):
        command = [sys.executable, "-c", code.format(words[0]), *words, "--config", office.config]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (75, ""), done.stderr
        assert done.stderr.startswith("retour: sqlite:///") and "Traceback" not in done.stderr


def damage(path: Path, kind: str) -> None:
    """What a broken disk or a bad copy leaves."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    if kind == "pages":
        content[4096:] = b"\xff" * (len(content) - 4096)
    elif kind == "header":
        content[:100] = b"\xff" * 100
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)  # the same file, as far as a process that has it open can see


@pytest.mark.parametrize("words", [*COMMANDS, ["rebuild"], ["purge"], ["keys", "rotate"]], ids=" ".join)
@pytest.mark.parametrize("kind", ["pages", "header", "cut off"])
def test_a_damaged_database_is_78_and_what_to_do(office: Any, words: list[str], kind: str) -> None:
    """Trying again would not help: the sentence names the file and the page of the manual."""
    office("suppressions", "add", A)
    damage(office.home / "retour.db", kind)
    result = office(*words, status=None)
    if words == ["keys", "rotate"]:
        assert result.exit_code == 0  # it does not ask the database
    elif kind == "header":
        assert result.exit_code == 78 and "is not a database" in result.stderr
    elif result.exit_code:
        assert result.exit_code == 78, result.stderr
        assert f"{office.home}/retour.db: the database is damaged (" in result.stderr
        assert 'docs/keeping.md, "A damaged database"' in result.stderr
        assert "## A damaged database" in (Path(__file__).parents[2] / "docs/keeping.md").read_text()
    else:
        assert kind == "cut off"  # what it needed may still be there


@pytest.mark.parametrize("service", ["milter", "lmtpd", "courier", "serve"])
def test_a_service_does_not_start_on_a_damaged_database(office: Any, service: str) -> None:
    """Exit status 78, which systemd takes for an end; Postfix keeps the mail meanwhile."""
    damage(office.home / "retour.db", "pages")
    command = [sys.executable, "-m", "retour_cli", service, "--config", office.config]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 78 and "the database is damaged (" in done.stderr and "Traceback" not in done.stderr
