"""Suppression files: suppressions from and for other systems, as CSV or JSON lines. Pure, except for reading."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Literal

from retour_policy.address import is_address
from retour_policy.clock import iso_text
from retour_policy.core.scope import parse_scope, scope_text
from retour_policy.core.suppression import CAUSES, Suppression
from retour_policy.sanitize import clean

Format = Literal["csv", "jsonl"]
COLUMNS = ("address", "cause", "scope", "since", "until", "note")
MAX_LINE_CHARACTERS = 10_000
MAX_RECORD_LINES = 20  # of a file: a quoted field may go over several
MAX_NOTE_CHARACTERS = 200
MAX_TIME_MS = int(datetime(9000, 1, 1, tzinfo=UTC).timestamp() * 1000)
_NEED_UNTIL = ("pause", "trial")  # causes that make no sense without an end
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}
_NOT_UTF_8 = re.compile("[\ud800-\udfff]")  # the result of `surrogateescape`


class LineError(ValueError):
    """What is wrong with a line, and how to fix it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One suppression to apply, and its line."""

    line: int
    address: str
    new: Suppression


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that cannot be used."""

    line: int
    text: str


def read_rows(file: IO[str], format_: Format, streams: Collection[str], now: int) -> Iterator[Row | Fault]:
    """The rows and the errors of a file, one after the other, in bounded memory.

    The file is to be opened as UTF-8 with `surrogateescape`, and for CSV with its line ends as they are.
    """
    records = _csv(file) if format_ == "csv" else _jsonl(file)
    for line, values in records:
        if isinstance(values, str):
            yield Fault(line, values)
            continue
        try:
            yield Row(line, *_row(values, streams, now))
        except LineError as error:
            yield Fault(line, str(error))


def to_dict(address: str | None, one: Suppression) -> dict[str, str | None]:
    """A suppression as both formats write it."""
    return {
        "address": address,
        "cause": one.cause,
        "scope": scope_text(one.scope),
        "since": iso_text(one.since),
        "until": iso_text(one.until) if one.until is not None else None,
        "note": one.note,
    }


def _csv(file: IO[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    records = _records(file)
    line, head = next(records, (1, []))
    fault = head if isinstance(head, str) else _head_fault([name.strip().lower() for name in head])
    if fault or isinstance(head, str):
        yield line, fault
        return
    names = [name.strip().lower() for name in head]
    for line, fields in records:
        if isinstance(fields, str):
            yield line, fields
        elif len(fields) != len(names):
            yield line, f"has {len(fields)} fields; the header names {len(names)}"
        else:
            yield line, dict(zip(names, fields, strict=True))


def _records(file: IO[str]) -> Iterator[tuple[int, list[str] | str]]:
    """The fields of each record and the line that it begins in, or what is wrong with that line.

    A quoted field may go over some lines. Where a quotation mark is never closed, only its line is wrong.
    """
    lines = _numbered(file)
    ahead: deque[_Line] = deque()
    while ahead or (ahead := deque(itertools.islice(lines, 1))):
        taken = [ahead.popleft()]
        while _is_open(taken) and len(taken) < MAX_RECORD_LINES and (more := _next(ahead, lines)):
            taken.append(more)
        if _is_open(taken):
            ahead.extendleft(reversed(taken[1:]))
            yield taken[0].number, "a quotation mark is not closed"
        elif fault := next((one for one in taken if one.fault), None):
            yield fault.number, fault.fault
        elif any(one.text.strip() for one in taken):
            yield taken[0].number, _fields(taken)


def _fields(taken: list[_Line]) -> list[str] | str:
    try:
        return next(csv.reader([line.text for line in taken]), [])
    except csv.Error as error:
        return f"is not CSV: {error}"


def _next(ahead: deque[_Line], lines: Iterator[_Line]) -> _Line | None:
    return ahead.popleft() if ahead else next(lines, None)


def _is_open(lines: list[_Line]) -> bool:
    return not lines[0].fault and sum(one.text.count('"') for one in lines) % 2 == 1


def _head_fault(head: list[str]) -> str:
    unknown = [name for name in head if name not in COLUMNS]
    if len(head) == 1 and (separator := next((one for one in _OTHER_SEPARATORS if one in head[0]), None)):
        return (
            f"the columns are separated by {_OTHER_SEPARATORS[separator]}, as Excel does in some languages; "
            'separate them by commas: "CSV UTF-8 (comma delimited)"'
        )
    if "address" not in head:
        return f"the first line must name the columns, address among them; the columns are {', '.join(COLUMNS)}"
    if unknown:
        return f"unknown column {unknown[0]!r}; the columns are {', '.join(COLUMNS)}"
    return "" if len(set(head)) == len(head) else "a column stands twice"


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a file, or what is wrong with it."""

    number: int
    text: str
    fault: str = ""


def _numbered(file: IO[str]) -> Iterator[_Line]:
    """All lines, each bounded; one that cannot be used is reported and skipped."""
    number = 0
    while line := file.readline(MAX_LINE_CHARACTERS):
        number += 1
        fault = _line_fault(line)
        rest = line
        while len(rest) >= MAX_LINE_CHARACTERS and not rest.endswith("\n"):
            rest, fault = file.readline(MAX_LINE_CHARACTERS), f"is longer than {MAX_LINE_CHARACTERS} characters"
        yield _Line(number, "" if fault else line, fault)


def _line_fault(line: str) -> str:
    if "\0" in line:
        return "holds a NUL"
    if not line.isascii() and _NOT_UTF_8.search(line):
        return "is not UTF-8 text"
    return ""


def _jsonl(file: IO[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for line in _numbered(file):
        if line.fault:
            yield line.number, line.fault
        elif line.text.strip():
            yield line.number, _object(line.text)


def _object(line: str) -> dict[str, Any] | str:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {error}"
    if not isinstance(values, dict):
        return 'is not an object; for example {"address": "a@example.com"}'
    unknown = [name for name in values if name not in COLUMNS]
    return f"unknown key {unknown[0]!r}; the keys are {', '.join(COLUMNS)}" if unknown else values


def _row(values: dict[str, Any], streams: Collection[str], now: int) -> tuple[str, Suppression]:
    wrong = next((name for name, value in values.items() if value is not None and not isinstance(value, str)), None)
    if wrong:
        raise LineError(f"{wrong} is not text")
    texts = {name: (values.get(name) or "").strip() for name in COLUMNS}
    if not is_address(texts["address"]):
        raise LineError(f"{texts['address']!r} is not an e-mail address")
    cause = texts["cause"].lower() or "operator"
    if cause not in CAUSES:
        raise LineError(f"unknown cause {cause!r}; the causes are {', '.join(sorted(CAUSES))}")
    since = _time("since", texts["since"]) if texts["since"] else now
    until = _time("until", texts["until"]) if texts["until"] else None
    if until is not None and until <= since:
        raise LineError("until is not after since")
    if until is None and cause in _NEED_UNTIL:
        raise LineError(f"a {cause} needs until")
    note = clean(" ".join(texts["note"].split()), MAX_NOTE_CHARACTERS)  # one line: an SMTP reply may show it
    new = Suppression(_scope(texts["scope"], streams), cause, min(since, now), until, note)
    return texts["address"], new


def _scope(text: str, streams: Collection[str]) -> str:
    try:
        return parse_scope(text, streams)
    except LookupError as error:
        raise LineError(*error.args) from None


def _time(name: str, text: str) -> int:
    """Milliseconds since 1970 of a date or time (ISO 8601), or of a number of seconds."""
    if re.fullmatch(r"[0-9]{9,10}", text):
        return int(text) * 1000
    try:
        at = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
    except ValueError:
        raise LineError(f"{name} {text!r} is not a time; for example 2026-01-31 or 2026-01-31T12:00:00Z") from None
    found = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    if not 0 <= found <= MAX_TIME_MS:
        raise LineError(f"{name} {text!r} lies before 1970 or after 9000")
    return found
