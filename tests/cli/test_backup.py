"""`retour db backup`: a copy of one moment, while others write, that can be put in the database's place."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

A, B = "anna@example.net", "bob@example.net"


def suppressed(office: Any) -> list[str]:
    return [str(one["address"]) for one in office.json("suppressions", "list")]


def test_a_backup_has_what_was_committed_and_can_be_restored(office: Any) -> None:
    """The newest commits too, which are in the log; nothing of what is under way. Restored, it is the database."""
    office("suppressions", "add", A)
    copy = office.home / "backups/one.db"
    context = office.context
    with context.store.writing():  # somebody writes meanwhile, and is not waited for
        office("db", "backup", copy)
    context.store.close()
    office("suppressions", "add", B)
    assert copy.stat().st_mode & 0o777 == 0o640 and [path.name for path in copy.parent.iterdir()] == ["one.db"]
    for file in office.home.glob("retour.db*"):
        file.unlink()
    shutil.copy(copy, office.home / "retour.db")
    assert suppressed(office) == [A]


def test_a_backup_overwrites_nothing(office: Any) -> None:
    """Neither a file nor what a link leads to."""
    there, link = office.home / "there", office.home / "link"
    there.write_text("mine")
    link.symlink_to(office.home / "nowhere")
    for name in (there, link):
        assert "is there already" in office("db", "backup", name, status=1).stderr
    assert there.read_text() == "mine" and not (office.home / "nowhere").exists()


def test_a_database_of_an_older_version_can_be_backed_up(office: Any) -> None:
    """Before it is upgraded is when it must be."""
    office.write(lambda connection: connection.exec_driver_sql("UPDATE retour_schema SET version_num = '0001'"))
    copy = office.home / "old.db"
    office("db", "backup", copy)
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT version_num FROM retour_schema").fetchone() == ("0001",)


def test_a_backup_that_fails_leaves_nothing(office: Any) -> None:
    """A damaged database is said to be one, and there is no half of a copy."""
    path: Path = office.home / "retour.db"
    path.write_bytes(b"buy milk\n" * 1000)
    office("db", "backup", office.home / "copy.db", status=None)
    assert not (office.home / "copy.db").exists()
    assert office("db", "backup", office.home / "copy.db", status=None).exit_code in (75, 78)
