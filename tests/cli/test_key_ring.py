"""A database and its key ring: another ring would find no suppression in it and refuse every report."""

from __future__ import annotations

import os
import shlex
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from lab.site import RETOUR
from retour_cli.services.condition import Condition
from retour_cli.services.reload import reload
from retour_policy.address import address_key
from retour_policy.errors import StoreUnavailable
from retour_policy.store import key_ring_mark, schema
from retour_policy.tokens import keyring

A = "anna@example.net"
COMMANDS = [
    ["check"], ["events"], ["address", "show", A], ["suppressions", "list"], ["suppressions", "add", A],
    ["token", "make", "--stream", "news", "--to", A], ["purge"], ["rebuild"], ["stats"], ["db", "upgrade"],
]  # fmt: skip


def another_ring(office: Any) -> bytes:
    """Put another key ring in the place of the right one; the right one."""
    path = office.home / "keys.toml"
    right = path.read_bytes()
    path.unlink()
    keyring.save(path, keyring.create(office.context.clock()))
    return bytes(right)


def query(office: Any, sql: str, *values: object, database: str = "retour.db") -> list[Any]:
    """Ask or change the database behind Retour's back."""
    with closing(sqlite3.connect(office.home / database, isolation_level=None)) as connection:
        return connection.execute(sql, values).fetchall()


def mark(office: Any) -> bytes | None:
    rows = query(office, "SELECT fingerprint FROM key_ring")
    return rows[0][0] if rows else None


def forget_mark(office: Any) -> None:
    """As it is after the upgrade of an older database."""
    query(office, "DELETE FROM key_ring")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_refuses_another_ring(office: Any, words: list[str]) -> None:
    """Exit status 78, one sentence that names both files, and where to read on; nothing is changed."""
    office("suppressions", "add", A)
    another_ring(office)
    result = office(*words, status=78)
    (sentence,) = result.stderr.splitlines()
    assert str(office.home / "keys.toml") in sentence and str(office.home / "retour.db") in sentence
    assert '(docs/keeping.md, "A lost key ring")' in sentence and result.stdout == ""


@pytest.mark.parametrize("service", ["milter", "lmtpd", "courier", "serve"])
def test_a_service_refuses_another_ring(office: Any, service: str) -> None:
    """It does not start: systemd does not try 78 again, and the journal has the sentence."""
    another_ring(office)
    done = subprocess.run([*RETOUR, service, "--config", str(office.config)], capture_output=True, text=True)
    assert done.returncode == 78 and "was made with another key ring" in done.stderr


def test_with_the_right_ring_back_all_is_as_before(office: Any) -> None:
    """Nothing was lost, and nothing marked by the wrong one."""
    office("suppressions", "add", A)
    right = another_ring(office)
    office("suppressions", "list", status=78)
    (office.home / "keys.toml").write_bytes(right)
    assert A in office("suppressions", "list").stdout


def test_rotation_makes_no_difference(office: Any) -> None:
    """The keys that sign change; the secret of the addresses stays."""
    before = mark(office)
    for _ in range(40):
        office("keys", "rotate")
    office("check")
    assert mark(office) == before is not None


def test_suppressions_can_be_saved_without_the_right_ring(office: Any) -> None:
    """It reads the addresses themselves: how to go on where the ring is lost for good."""
    office("suppressions", "add", A)
    another_ring(office)
    assert A in office("suppressions", "export").stdout


def test_a_database_without_a_mark_is_marked_by_the_ring_that_fits(office: Any) -> None:
    """After an upgrade: the first process that has both, unless the addresses say that the ring is a wrong one."""
    office("suppressions", "add", A)
    forget_mark(office)
    right = another_ring(office)
    office("check", status=78)
    (office.home / "keys.toml").write_bytes(right)
    assert mark(office) is None
    office("check")
    assert mark(office) is not None


def test_a_ring_that_was_wrong_for_a_while_is_not_taken_for_the_right_one(office: Any) -> None:
    """Before there were marks some mail went out under a wrong ring: most addresses speak for the right one."""
    right = office.context.ring.address_secret
    other = keyring.create(0).address_secret
    rows = [{"key": address_key(right, f"{n}@example.net"), "text": f"{n}@example.net"} for n in range(60)]
    rows += [{"key": address_key(other, f"{n}@example.net"), "text": f"{n}@example.net"} for n in range(40)]
    office.write(lambda connection: connection.execute(schema.address.insert(), rows))
    forget_mark(office)
    store = office.context.store_of_any_ring
    with store.reading() as connection:
        assert key_ring_mark.belongs(connection, right) and not key_ring_mark.belongs(connection, other)
    store.close()


def test_an_empty_database_takes_any_ring(office: Any) -> None:
    """Nothing in it was stored under another."""
    another_ring(office)
    forget_mark(office)
    office("check")
    assert mark(office) is not None


def test_neither_purge_nor_erase_removes_the_mark(office: Any) -> None:
    """It says nothing about anybody."""
    office.bounced(A)
    before = mark(office)
    office("purge")
    office("erase", A, "--yes")
    assert mark(office) == before is not None


def test_a_running_process_does_not_use_a_database_of_another_ring(office: Any) -> None:
    """Restored under its feet from another installation: temporary, until the right one is back."""
    context, path, kept = office.context, office.home / "retour.db", office.home / "kept.db"
    with context.store.writing():
        pass
    query(office, f"VACUUM INTO '{kept}'")
    query(office, f"VACUUM INTO '{office.home}/other.db'")
    query(office, "UPDATE key_ring SET fingerprint = ?", bytes(16), database="other.db")
    for file in office.home.glob("retour.db-*"):
        file.unlink()
    (office.home / "other.db").rename(path)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="was made with another key ring"), context.store.writing():
            pass
    kept.rename(path)
    with context.store.writing():
        pass
    context.store.close()


def test_a_reload_does_not_take_another_ring(office: Any) -> None:
    """The old one stays in force, and the log names the file."""
    context = office.context
    secret = context.ring.address_secret
    another_ring(office)
    adopted: list[Any] = []
    with capture_logs() as logs:
        reload(context, Condition("lmtpd", context), adopted.append)
    (problem,) = [str(entry["problem"]) for entry in logs if entry["log_level"] == "error"]
    assert adopted == [] and f"{office.home}/keys.toml is another key ring" in problem
    assert not context.ring.refresh() and context.ring.address_secret == secret


def test_a_lost_ring_is_replaced_as_the_docs_say(office: Any, tmp_path: Path) -> None:
    """The commands printed in "A lost key ring", in their order: who was suppressed is so under the new ring."""
    office("suppressions", "add", A)
    (office.home / "keys.toml").unlink()
    page = (Path(__file__).parents[2] / "docs/keeping.md").read_text(encoding="utf-8")
    printed = page.partition("\n## A lost key ring\n")[2].partition("```\n")[2].partition("```")[0]
    assert "retour keys create\n" in printed
    python = f'retour() {{ {shlex.join(RETOUR)} "$@"; }}\nsystemctl() {{ :; }}\n'
    script = python + printed.replace("/var/lib/retour", str(office.home))
    environment = os.environ | {"RETOUR_CONFIG": str(office.config)}
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert A in office("suppressions", "list").stdout


def test_a_ring_is_made_where_there_is_none(office: Any) -> None:
    """Mode 0600, two keys, and told; not one that was there before."""
    path = office.home / "keys.toml"
    before = path.read_bytes()
    path.unlink()
    assert office.json("keys", "create") == [{"keyring": str(path), "signing": 0, "keys": 2}]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and keyring.load(path).signing() == 0
    assert path.read_bytes() != before


@pytest.mark.parametrize("kind", ["ring", "folder", "link to nothing"])
def test_a_ring_that_is_there_stays(office: Any, kind: str) -> None:
    """Exit status 1 and its name, whatever is there: with another ring the database would be lost."""
    path = office.home / "keys.toml"
    if kind != "ring":
        path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "link to nothing":
        path.symlink_to(office.home / "nowhere")
    before = path.read_bytes() if kind == "ring" else path.lstat()
    result = office("keys", "create", status=1)
    assert result.stderr == f"retour: {path}: is there already; `retour keys rotate` renews its keys\n"
    assert (path.read_bytes() if kind == "ring" else path.lstat()) == before
    assert not (office.home / "nowhere").exists()


def test_a_missing_ring_is_not_to_be_made_by_init(office: Any) -> None:
    """Init overwrites nothing, so it cannot: the sentence leads to the page that says what to do."""
    (office.home / "keys.toml").unlink()
    said = office("check", status=78).stderr
    assert "keys.toml: No such file or directory; put back" in said and "init" not in said
    assert 'docs/keeping.md, "A lost key ring"' in said
