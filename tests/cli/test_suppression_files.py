"""Suppression files in and out: nothing applied where a line is wrong, and what goes out comes in again."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from lab.effort import yardstick
from lab.wait import wait_until
from retour_policy.clock import DAY, day_text, system_clock
from retour_policy.maintenance import suppression_import
from retour_policy.maintenance.suppression_files import Fault, Row, read_rows
from retour_policy.store import batches
from retour_policy.store.database import Store
from retour_policy.store.lock import find_holder

A, B = "anna@example.net", "bert@example.net"
HEAD = "address,cause,scope,since,until,note\n"


def listed(office: Any) -> list[tuple[Any, ...]]:
    found = office.json("suppressions", "list")
    return sorted(
        (one["address"], one["scope"], one["cause"], one["since"], one["until"], one["note"]) for one in found
    )


def put(office: Any, text: str | bytes, name: str = "list.csv") -> Any:
    path = office.home / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_is_exported_can_be_imported_elsewhere(office: Any, form: str) -> None:
    """Pauses, notes with commas and quotes, other scripts, scopes and dates: all the same after the way there."""
    office.edit('preset = "plain"\nhard = 3', 'preset = "careful"\nhard = 2')
    office.bounced("paused@example.net")
    office("suppressions", "add", A, "--note", 'he said "no, never"')
    office("suppressions", "add", "jürgen@bücher.example", "--scope", "news", "--until", "30d")
    office("suppressions", "add", B, "--scope", "bulk")
    before = listed(office)
    assert len(before) == 4
    text = office("suppressions", "export", "--format", form).stdout
    for address, *_ in before:
        office("suppressions", "remove", address)
    assert listed(office) == []
    path = put(office, text, f"list.{form}")
    assert "4 of them new" in office("suppressions", "import", path).output
    assert listed(office) == before
    assert "0 of them new" in office("suppressions", "import", path).output
    assert office("suppressions", "export", "--format", form).stdout == text


def test_a_long_list_is_cut_and_that_is_said(office: Any) -> None:
    """The oldest first, and how many more there are; JSON has all, read a few at a time."""
    office("suppressions", "import", put(office, HEAD + f"{B},hard,,2026-01-02,,\n{A},hard,,2026-01-01,,\n"))
    text = office("suppressions", "list", "--limit", "1").stdout
    assert A in text and B not in text and "and 1 more" in text
    assert len(listed(office)) == 2
    assert "more" not in office("suppressions", "list").stdout


def test_the_erased_are_left_out_and_that_is_said(office: Any) -> None:
    """An export holds no address that it cannot name, so that it can be imported."""
    office("suppressions", "add", A)
    office("suppressions", "add", B)
    office("erase", A, "--yes")
    result = office("suppressions", "export", "--format", "jsonl")
    assert [json.loads(line)["address"] for line in result.stdout.splitlines()] == [B]
    assert "left out: 1" in result.stderr


WRONG = {
    2: (b"nobody,hard,,,,", "'nobody' is not an e-mail address"),
    3: (b"a@example.net,gone,,,,", "unknown cause 'gone'"),
    4: (b"a@example.net,hard,nosuch,,,", "no stream 'nosuch'"),
    5: (b"a@example.net,hard,,yesterday,,", "since 'yesterday' is not a time"),
    6: (b"a@example.net,hard,,2026-01-02,2026-01-01,", "until is not after since"),
    7: (b"a@example.net,hard", "has 2 fields; the header names 6"),
    8: (b"a@example.net,hard,,,,\0", "holds a NUL"),
    9: (b"a@example.net,hard,,,,\xfc", "is not UTF-8 text"),
    10: (b"a@example.net,hard,,,,%s" % (b"x" * 25_000), "is longer than 10000 characters"),
    11: (b'a@example.net,hard,,,,"open', "a quotation mark is not closed"),
    12: (b"a@example.net,pause,,,,", "a pause needs until"),
    13: (b"a@example.net,hard,,0001-01-01T00:00:00+14:00,,", "lies before 1970"),
    14: (b"a@example.net,hard,,9999-12-31T23:59:59-14:00,,", "lies before 1970 or after 9000"),
}


def test_all_wrong_lines_are_listed_and_nothing_is_applied(office: Any) -> None:
    """Each by its number, whatever is wrong with those before it."""
    lines = [HEAD.strip().encode(), *(line for line, _ in WRONG.values()), f"{A},hard,,,,".encode()]
    path = put(office, b"\xef\xbb\xbf" + b"\n".join(lines) + b"\n")
    result = office("suppressions", "import", path, status=1)
    told = result.stderr.splitlines()
    assert len(told) == len(WRONG)
    for said, (number, (_, words)) in zip(told, WRONG.items(), strict=True):
        assert said.startswith(f"{path}:{number}: ") and words in said
    assert listed(office) == []


def test_wrong_json_lines_are_listed_too(office: Any) -> None:
    """The same for JSON lines."""
    lines = [
        b"[1]",
        b"{",
        b'{"address": 1}',
        b'{"adress": "x"}',
        b"x" * 30_000,
        b'{"address": "a@b\0"}',
        b'{"address":"x"}',
        b"[" * 9_000,
    ]
    path = put(office, b"\n".join(lines), "list.jsonl")
    told = office("suppressions", "import", path, status=1).stderr.splitlines()
    assert [line.removeprefix(f"{path}:").partition(":")[0] for line in told] == list("12345678")


@pytest.mark.parametrize("head", ["nothing", "cause,scope", "address;cause", "address,address", "address,when", "a\0"])
def test_a_wrong_header_is_refused(office: Any, head: str) -> None:
    """With the columns that there are."""
    path = put(office, f"{head}\n{A},\n")
    (told,) = office("suppressions", "import", path, status=1).stderr.splitlines()
    assert told.startswith(f"{path}:1: ")
    assert listed(office) == []


def test_a_thousand_wrong_lines_are_a_thousand_lines(office: Any) -> None:
    """No number of faults is too many to be listed."""
    path = put(office, HEAD + "x,,,,,\n" * 1_500)
    assert len(office("suppressions", "import", path, status=1).stderr.splitlines()) == 1_500


def test_a_field_may_go_over_lines_and_a_note_is_one_line(office: Any) -> None:
    """As Excel writes it; an SMTP reply may show the note."""
    path = put(office, f'{HEAD}{A},complaint,bulk,2026-01-01,,"first\r\nsecond\tthird"\r\n{B},,,,,\r\n')
    office("suppressions", "import", path)
    assert [(one[0], one[-1]) for one in listed(office)] == [(A, "first second third"), (B, "")]


def test_an_import_never_lifts_a_suppression(office: Any) -> None:
    """Neither a row that has run out, nor one that ends sooner, takes the place of what is in force."""
    day = day_text(system_clock() + 20 * DAY)
    office("suppressions", "add", A, "--until", "40d")
    before = listed(office)
    path = put(office, f"{HEAD}{A},hard,,2020-01-01,2020-06-01,\n{A},hard,,,{day},\n")
    assert "0 of them new" in office("suppressions", "import", path).output
    assert listed(office) == before
    office("suppressions", "import", put(office, f"{HEAD}{A},complaint,,,,\n"))
    assert listed(office)[0][4] is None


def test_an_import_that_was_stopped_is_repeated(office: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between two transactions: what was applied stays, the rest comes with the next run."""
    path = put(office, HEAD + "".join(f"u{n}@example.net,hard,,,,\n" for n in range(120)))
    monkeypatch.setattr(suppression_import, "MAX_ROWS_APPLIED", 25)
    working, calls = suppression_import.SuppressionImport._apply, itertools.count()

    def stopping(*args: Any) -> int:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return working(*args)

    monkeypatch.setattr(batches, "MAX_BATCH_MS", 0)
    monkeypatch.setattr(suppression_import.SuppressionImport, "_apply", stopping)
    office("suppressions", "import", path, status=1)
    assert len(listed(office)) == 50
    monkeypatch.undo()
    assert "70 of them new" in office("suppressions", "import", path).output
    assert len(listed(office)) == 120


def test_nobody_waits_while_the_progress_bar_is_drawn(office: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two transactions the store is free, however long a terminal takes."""
    context = office.context
    monkeypatch.setattr(batches, "MAX_BATCH_MS", 0)
    rows = [
        Row(n, f"u{n}@example.net", next(iter(rows_of("x@example.net"))))
        for n in range(2 * suppression_import.MAX_ROWS_APPLIED)
    ]
    applying = suppression_import.SuppressionImport(
        context.store, context.ring.address_secret, context.ledger, context.clock()
    ).apply(rows)
    next(applying)
    with next(office.home.glob("*.db.lock")).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert len(listed(office)) == suppression_import.MAX_ROWS_APPLIED
    list(applying)


def test_an_import_that_is_stopped_by_ctrl_z_holds_up_nobody(office: Any, folder: Path) -> None:
    """Wherever it is stopped, the lock is free; it goes on when it is continued, and imports all."""
    listed_in = folder / "list.csv"
    listed_in.write_text("address\n" + "".join(f"user{n}@example.net\n" for n in range(4_000)))
    command = [sys.executable, "-m", "retour_cli", "suppressions", "import", listed_in, "--config", office.config]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)
    stops = 0
    with (office.home / "retour.db.lock").open("w") as lock:
        wait_until(lambda: find_holder(lock.fileno()), what="its first transaction")
        while True:
            process.send_signal(signal.SIGTSTP)
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                break
            stops += 1
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(lock, fcntl.LOCK_UN)
            process.send_signal(signal.SIGCONT)
    process.returncode = os.waitstatus_to_exitcode(status)
    with process:
        assert process.stdout and "4000 lines, 4000 of them new" in process.stdout.read()
    assert process.returncode == 0 and stops > 5


def test_an_import_of_20000_lines_stalls_nobody(office: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of its transactions takes 250 ms of a good machine's processor; in between, who waits is next."""
    listed_in, spent = folder / "list.csv", list[float]()
    listed_in.write_text("address\n" + "".join(f"user{n}@example{n % 50}.net\n" for n in range(20_000)))
    writing = Store.writing

    @contextlib.contextmanager
    def measured(store: Store) -> Iterator[Connection]:
        with writing(store) as connection:
            begun = time.thread_time()
            yield connection
        spent.append(time.thread_time() - begun)

    monkeypatch.setattr(Store, "writing", measured)
    assert office.json("suppressions", "import", str(listed_in)) == [{"lines": 20_000, "new": 20_000}]
    *_, third, _, _ = sorted(spent)  # in two, this process may have collected the garbage of other tests
    assert len(spent) > 50 and third < max(0.25, 50 * yardstick()), third


def rows_of(address: str) -> Any:
    found = list(read_rows(io.StringIO(f"{HEAD}{address},,,,,\n"), "csv", [], system_clock()))
    return [one.new for one in found if isinstance(one, Row)]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_memory_is_bounded_whatever_the_length(form: Any) -> None:
    """A file of thousands of lines, every tenth wrong, is gone through without being kept."""

    class Endless(io.TextIOBase):
        """A file that is made as it is read."""

        def __init__(self, lines: int) -> None:
            self.left = lines

        def readline(self, size: int = -1) -> str:  # type: ignore[override]
            self.left -= 1
            if self.left < 0:
                return ""
            values = {"address": f"u{self.left}@example.net" if self.left % 10 else "x", "note": '"quoted" '}
            if form == "jsonl":
                return json.dumps(values) + "\n"
            text = io.StringIO()
            csv.writer(text).writerow(values.values())
            return "address,note\n" if self.left == lines - 1 else text.getvalue()

    lines = 12_000
    tracemalloc.start()
    found = read_rows(Endless(lines), form, [], system_clock())  # type: ignore[arg-type]
    faults = sum(isinstance(one, Fault) for one in found)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert faults in (lines // 10, lines // 10 - 1) and peak < 500_000


def test_streams_called_as_a_class_of_streams_is(office: Any) -> None:
    """Streams "bulk" and "everywhere": told from the classes in tables and exports, and imported as they were."""
    office.edit('name = "news"\nmatch', 'name = "bulk"\nmatch')
    office.edit('name = "shop"\nmatch', 'name = "everywhere"\nmatch')
    assert "written stream:bulk" in office("check").stdout
    scopes = ("bulk", "stream:bulk", "everywhere", "stream:everywhere")
    for number, scope in enumerate(scopes):
        office("suppressions", "add", f"u{number}@example.net", "--scope", scope)
    assert [one[1] for one in listed(office)] == [*scopes]
    table = office("suppressions", "list").stdout
    assert all(word in table for word in ("bulk mail ", " stream:bulk ", " everywhere ", " stream:everywhere "))
    assert "in stream:bulk" in office("address", "show", "u1@example.net").stdout
    exported, before = office("suppressions", "export").stdout, listed(office)
    for number in range(4):
        office("suppressions", "remove", f"u{number}@example.net")
    office("suppressions", "import", put(office, exported))
    assert listed(office) == before


def test_an_address_that_stands_in_a_list_twice(office: Any) -> None:
    """In any case and in any order: each line has its say, the longest suppression stays, and the facts agree."""
    lines = (
        f"{A},hard,,2026-01-01,2031-01-01,\n{B},hard,,,,\nANNA@example.net,complaint,,2026-01-02,,\n{A},soft,news,,,\n"
    )
    assert "4 of them new" in office("suppressions", "import", put(office, HEAD + lines)).output
    assert [one[:3] for one in listed(office)] == [
        (A, "everywhere", "complaint"),
        (A, "news", "soft"),
        (B, "everywhere", "hard"),
    ]
    assert office.json("rebuild") == []
