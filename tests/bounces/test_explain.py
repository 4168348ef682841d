"""`retour explain`: what it shows to people and to programs, and what it does with bad input."""

# ruff: noqa: E501  (samples are kept as the lines that servers write)
from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lab.wait import PATIENCE
from retour_cli.main import main

FIXTURES = Path(__file__).parent / "fixtures"
BOUNCE = str(FIXTURES / "postfix-unknown-1.eml")
WARNING = str(FIXTURES / "postfix-grey-1.eml")


LONG = Path(BOUNCE).read_bytes() + b"a line that goes on and on\n" * 1_000_000


def explain(*args: str, stdin: bytes | None = None) -> Result:
    """Runs the command."""
    return CliRunner().invoke(main, ["explain", *args], input=stdin)


def test_a_person_sees_verdict_rule_and_marked_evidence() -> None:
    """Kind, recipient, reason, status and its source, rule and the words, marked, within 80 columns."""
    result = explain(BOUNCE)
    assert result.exit_code == 0
    for text in (
        "bounce",
        "unknown@remote.example: failed, hard, userunknown; recipient is to blame",
        "5.1.1 (stands in the message)",
        "user-unknown",
        "^^^^",
    ):
        assert text in result.stdout
    assert max(len(line) for line in result.stdout.replace(BOUNCE, "FILE").splitlines()) <= 80


def test_a_program_gets_one_object_a_message_in_the_order_of_the_files() -> None:
    """--json prints what `Report.to_dict` holds, and the file."""
    rows = [json.loads(line) for line in explain("--json", WARNING, BOUNCE).stdout.splitlines()]
    assert [row["file"] for row in rows] == [WARNING, BOUNCE]
    assert [row["kind"] for row in rows] == ["delayed", "bounce"]
    report = rows[1]["reports"][0]
    wanted = {
        "recipient",
        "original_recipient",
        "action",
        "type",
        "status",
        "status_source",
        "reason",
        "blame",
        "rule",
        "evidence",
        "diagnostic",
    }
    assert wanted <= report.keys()
    assert (report["recipient"], report["status"], report["status_source"]) == (
        "unknown@remote.example",
        "5.1.1",
        "wire",
    )


def test_standard_input_is_read() -> None:
    """A dash, or no file, stands for standard input."""
    data = Path(BOUNCE).read_bytes()
    for args in (("--json", "-"), ("--json",)):
        assert json.loads(explain(*args, stdin=data).stdout)["kind"] == "bounce"


def test_bad_files_get_a_line_each_and_the_others_are_read(tmp_path: Path) -> None:
    """Missing, folder, empty, binary, no mail: a line on standard error, `not-a-report`, exit 1 for what
    cannot be opened."""
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\0\0\1\2\3")
    (tmp_path / "prose").write_text("Dear all,\n\nno header here.\n")
    readable = [str(tmp_path / name) for name in ("empty", "binary", "prose")]
    result = explain("--json", *readable, BOUNCE)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["kind"] for row in rows] == ["not-a-report"] * 3 + ["bounce"]
    assert result.exit_code == 0
    assert [line.count(name) for line, name in zip(result.stderr.splitlines(), readable, strict=True)] == [
        1,
        1,
        1,
    ]
    result = explain("--json", str(tmp_path / "missing"), str(tmp_path), BOUNCE)
    assert result.exit_code == 1
    assert [json.loads(line)["kind"] for line in result.stdout.splitlines()] == [
        "not-a-report",
        "not-a-report",
        "bounce",
    ]
    assert "No such file" in result.stderr and "Is a directory" in result.stderr


def test_a_program_is_told_why_a_file_says_nothing(tmp_path: Path) -> None:
    """What is not there must not look like ordinary mail: its object holds the error."""
    (tmp_path / "empty").write_bytes(b"")
    rows = explain("--json", str(tmp_path / "missing"), str(tmp_path / "empty"), str(tmp_path), BOUNCE).stdout
    errors = [json.loads(line).get("error") for line in rows.splitlines()]
    assert errors == ["No such file or directory", "empty", "Is a directory; --unrecognised reads folders", None]


def test_each_message_of_an_mbox_is_read(tmp_path: Path) -> None:
    """A file named *.mbox holds many, and none is skipped; an empty one is an error."""
    box = tmp_path / "old.mbox"
    both = [Path(name).read_bytes() for name in (BOUNCE, WARNING)]
    box.write_bytes(b"".join(b"From MAILER-DAEMON Sat Oct  4 08:00:09 2025\n%s\n" % one for one in both))
    rows = [json.loads(line) for line in explain("--json", str(box)).stdout.splitlines()]
    assert [(row["file"], row["kind"]) for row in rows] == [(f"{box}:1", "bounce"), (f"{box}:2", "delayed")]
    assert "2 messages: 1 bounce, 1 delayed" in explain(str(box)).stdout
    box.write_bytes(b"")
    assert f"{box}: empty" in explain(str(box)).stderr


def test_an_mbox_of_another_name_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    """Its first message is read, and that there are more is said; one message alone is nothing to tell."""
    box = tmp_path / "postmaster"
    one = b"From MAILER-DAEMON Sat Oct  4 08:00:09 2025\n%s\n" % Path(BOUNCE).read_bytes()
    box.write_bytes(one * 2)
    assert "only its first message is read; call an mbox *.mbox" in explain(str(box)).stderr
    assert f"{box}: bounce" in explain(str(box)).stdout
    box.write_bytes(one)
    assert explain(str(box)).stderr == ""


def test_lines_that_are_not_shown_are_told_of() -> None:
    """A report about many recipients has more lines than are worth showing."""
    assert "… and more" in explain(str(FIXTURES / "courier-many-1.eml")).stdout
    assert "and more" not in explain(BOUNCE).stdout


def test_words_that_say_too_little_are_said_to_count_for_nobody() -> None:
    """A rule that fires on mere "could not be delivered" decides nothing, and a person reads so."""
    data = (
        b"From: MAILER-DAEMON@mx.example.com\nSubject: Undelivered mail\n\n"
        b"Your message could not be delivered:\n\n<bert@remote.example>: 552 Der Briefkasten quillt.\n"
    )
    shown = " ".join(explain("-", stdin=data).stdout.split())
    assert "says too little, so it counts for nobody" in shown


def test_a_line_that_is_cut_says_so() -> None:
    """A long line is shown around its evidence, with marks where it goes on."""
    data = Path(BOUNCE).read_bytes().replace(b"; 550 5.1.1 <unknown", b"; 550 5.1.1 " + b"x" * 90 + b" <unknown")
    line = next(line for line in explain("-", stdin=data).stdout.splitlines() if "| …" in line)
    assert len(line) <= 80


def test_an_operators_rules_are_asked_first(tmp_path: Path) -> None:
    """--rules FILE: the rule that fired is the operator's; a wrong file is exit 78 and named."""
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rule]]\nname = "ours"\nreason = "suspend"\nwords = ["virtual mailbox table"]\nexamples = ["550 unknown in virtual mailbox table"]\n'
    )
    report = json.loads(explain("--json", "--rules", str(rules), BOUNCE).stdout)["reports"][0]
    assert (report["rule"], report["reason"]) == ("ours", "suspend")
    rules.write_text('[[rule]]\nname = "ours"\nreason = "nonsense"\n')
    result = explain("--rules", str(rules), BOUNCE)
    assert result.exit_code == 78
    assert str(rules) in result.stderr and "rule ours" in result.stderr and "nonsense" in result.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_what_no_rule_knows_is_listed_in_groups(tmp_path: Path, as_json: bool) -> None:
    """--unrecognised: replies alike but for address and number stand together, the largest group first."""
    text = Path(BOUNCE).read_text()
    for number in range(3):
        changed = (
            text.replace("5.1.1", "5.0.0")
            .replace("User unknown in virtual mailbox", f"Zork {number} flummoxed")
            .replace("Recipient address rejected: ", "")
        )
        (tmp_path / f"{number}.eml").write_text(changed.replace("unknown@", f"user{number}@"))
    (tmp_path / "known.eml").write_text(text)
    result = explain("--unrecognised", *(["--json"] if as_json else []), str(tmp_path))
    assert result.exit_code == 0
    if as_json:
        (row,) = [json.loads(line) for line in result.stdout.splitlines()]
        assert row["count"] == 3 and "flummoxed" in row["text"]
    else:
        assert (
            "    3  5.0.0" in result.stdout
            and "3 replies in 1 group that no rule knows, 4 messages read" in result.stdout
        )


def test_control_characters_do_not_reach_the_terminal() -> None:
    """What a hostile report says is shown without escape sequences."""
    data = Path(BOUNCE).read_bytes().replace(b"User unknown", b"User \x1b[31munknown\x07")
    assert "\x1b[31m" not in explain("-", stdin=data).stdout


def test_a_files_name_does_not_reach_the_terminal_as_it_is(tmp_path: Path) -> None:
    """A hostile name in a folder, or one that is no UTF-8, is shown without escape sequences in every way to ask."""
    for name in ("\x1b[31mred.eml", "\x1b]0;title\x07.eml", "half\udc9b.eml"):
        path = tmp_path / name
        path.write_bytes(Path(BOUNCE).read_bytes().replace(b"User unknown", b"Zork").replace(b"5.1.1", b"5.0.0"))
        empty = tmp_path / f"empty{name}"
        empty.write_bytes(b"")
        for args in ((str(path),), (str(empty),), ("--unrecognised", str(tmp_path)), (f"{path}.missing",)):
            result = CliRunner().invoke(main, ["explain", *args], color=True)
            shown = result.output.replace("\x1b[1m", "").replace("\x1b[0m", "")
            assert shown and not [c for c in shown if c != "\n" and not c.isprintable()]


def test_words_that_no_rule_knows_are_said_to_count_for_nobody(tmp_path: Path) -> None:
    """Or "failed, hard" alone would read as the end of an address."""
    path = tmp_path / "odd.eml"
    path.write_text(
        "From: MAILER-DAEMON@mx.example\nSubject: Undelivered\n\n<a@b.example>: host mx.b.example said: 550 xyzzy plugh\n"
    )
    assert "none knows these words, so it counts for nobody" in explain(str(path)).stdout


@pytest.mark.parametrize("kind", ["file", "device", "fifo", "stdin", "mbox"])
def test_of_what_has_no_end_the_beginning_is_read(tmp_path: Path, kind: str) -> None:
    """It says so, memory stays bounded, and the beginning is explained."""
    argv, stdin, name = [sys.executable, "-m", "retour_cli", "explain", "--json"], b"", str(tmp_path / "long.eml")
    if kind == "device":
        name = "/dev/zero"
    elif kind == "stdin":
        name, stdin = "-", LONG
    elif kind == "fifo":
        os.mkfifo(name)
        threading.Thread(target=fill, args=(Path(name),), daemon=True).start()
    elif kind == "mbox":
        name = str(tmp_path / "long.mbox")
        with Path(name).open("wb") as file:
            file.write(b"From x Thu Jan  1 00:00:00 1970\n" + LONG)
            file.truncate(2_000_000_000)  # a hole, which reads as one line of zeros
            file.seek(0, os.SEEK_END)
            file.write(b"\nFrom x Thu Jan  1 00:00:00 1970\n" + Path(WARNING).read_bytes())
    else:
        with Path(name).open("wb") as file:
            file.write(LONG)
            file.truncate(5_000_000_000)
    done = subprocess.run(
        ["bash", "-c", 'ulimit -v 1000000; exec "$@"', "bash", *argv, name],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert "only its first 10 MB are read" in done.stderr.decode()
    assert rows[0]["truncated"]
    wanted = {"device": ["not-a-report"], "mbox": ["bounce", "delayed"]}
    assert [row["kind"] for row in rows] == wanted.get(kind, ["bounce"])


def fill(fifo: Path) -> None:
    """Write into it for as long as somebody reads."""
    with suppress(BrokenPipeError), fifo.open("wb") as file:
        file.write(LONG)
