"""Bad input and lost output: one sentence that says what is wrong, and never half of the output in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from retour_cli.main import main

RETOUR = [sys.executable, "-m", "retour_cli"]
A = "anna@example.net"


def run(office: Any, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """In a process of its own, with its own standard output."""
    env = os.environ | {"RETOUR_CONFIG": str(office.config)} | options.pop("env", {})
    return subprocess.run([*RETOUR, *words], env=env, stderr=subprocess.PIPE, check=False, **options)


@pytest.mark.parametrize("words", [["suppressions", "export"], ["suppressions", "list", "--json"], ["check"]])
def test_a_full_disk_is_one_sentence(office: Any, words: list[str]) -> None:
    """Whatever a command prints: status 1, and that it is not all."""
    office("suppressions", "add", A)
    with Path("/dev/full").open("wb") as full:
        done = run(office, *words, stdout=full)
    said = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert said[-1] == "retour: standard output: No space left on device; what was printed is not complete"
    assert "Traceback" not in done.stderr.decode()


def test_a_closed_pipe_is_one_sentence(office: Any) -> None:
    """Nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = run(office, "suppressions", "export", stdout=pipe)
    assert done.returncode == 1
    assert done.stderr == b"retour: standard output: Broken pipe; what was printed is not complete\n"


def test_what_programs_read_is_utf_8_in_any_locale(office: Any) -> None:
    """An export and JSON; for people, what the locale cannot show is shown by number."""
    office("suppressions", "add", "jörg@example.net", "--note", "日本")
    latin = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    for words in (["suppressions", "export"], ["suppressions", "list", "--json"]):
        done = run(office, *words, env=latin, stdout=subprocess.PIPE)
        assert "jörg@example.net" in done.stdout.decode("utf-8") and "日本" in done.stdout.decode("utf-8"), done.stderr
    done = run(office, "suppressions", "list", env=latin, stdout=subprocess.PIPE)
    assert done.returncode == 0 and b"\\u65e5" in done.stdout


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_list_from_excel_is_named(office: Any, tmp_path: Path, separator: str, name: str) -> None:
    """In some languages it separates by semicolons: said, and what to do."""
    path = tmp_path / "list.csv"
    path.write_text(f"address{separator}note\r\n{A}{separator}gone\r\n", "utf-8-sig")
    result = office("suppressions", "import", path, status=1)
    assert f"{path}:1: the columns are separated by {name}" in result.stderr and "comma delimited" in result.stderr


def test_a_list_comes_by_standard_input(office: Any) -> None:
    """As `-`; errors name it."""
    done = run(office, "suppressions", "import", "-", input=f"address\n{A}\n".encode(), stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, b"1 line, 1 of them new"), done.stderr
    done = run(office, "suppressions", "import", "-", input=b"address\nnobody\n", stdout=subprocess.PIPE)
    assert done.returncode == 1 and done.stderr.startswith(b"standard input:2: ")


def test_a_configuration_with_a_byte_order_mark(office: Any) -> None:
    """An editor of another system wrote it."""
    office.config.write_bytes(b"\xef\xbb\xbf" + office.config.read_bytes())
    assert office("check").stdout.startswith(f"{office.config}: good\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nb = [1,\n", "2"), ("a = 1\n\n[b\n", "3"), ("a = 1\nb = " + "9" * 5000 + "\n", "2"), ('a = "\n', "1")],
)
def test_an_error_of_toml_has_a_line(office: Any, text: str, line: str) -> None:
    """Also where the parser only says that the file ended, or nothing at all."""
    office.config.write_text(text)
    assert f"at line {line}" in office("check", status=78).stderr


def test_erase_names_whom_it_asks_about(office: Any) -> None:
    """A typing error is seen before it cannot be undone; and no is no."""
    office("suppressions", "add", A)
    result = CliRunner().invoke(main, ["erase", A, "--config", str(office.config)], input="n\n")
    assert f"Erase {A}?" in result.output and result.exit_code == 1
    assert A in office("suppressions", "list").stdout
    assert "is not an e-mail address" in office("erase", "nobody", status=1).stderr


def test_a_database_is_looked_at(office: Any) -> None:
    """Whole, or what is wrong with it and what to do."""
    assert (
        office("db", "check").stdout.endswith(": whole\n") and office.json("db", "check", "--deep")[0]["faults"] == []
    )
    with (office.home / "retour.db").open("r+b") as file:
        file.seek(4096 * 6)
        file.write(b"\xff" * 4096 * 8)
    said = office("db", "check", status=78).stderr
    assert "the database is damaged" in said
    assert all(words in said for words in ("`retour db check`", "`retour db backup`", "docs/keeping.md"))
