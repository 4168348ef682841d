"""Lists: suppressions from other systems and for them, as CSV or JSON lines. Pure but for the file it is given."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Literal

from retour_policy.address import is_address
from retour_policy.clock import iso_text
from retour_policy.decide import BULK, EVERYWHERE
from retour_policy.suppression import CAUSES, Suppression

Format = Literal["csv", "jsonl"]
COLUMNS = ("address", "cause", "scope", "since", "until", "note")
LONGEST_LINE = 10_000  # characters
SCOPES = {"everywhere": EVERYWHERE, "*": EVERYWHERE, "": EVERYWHERE, "bulk": BULK, "*bulk": BULK}
_CAUSES = frozenset(CAUSES) - {"pause", "trial"}


class WrongLine(ValueError):
    """What is wrong with a line, and what would be right."""


@dataclass(frozen=True, slots=True)
class Row:
    """One suppression to be, and the line that it stands in."""

    line: int
    address: str
    new: Suppression


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that cannot be used."""

    line: int
    text: str


def read(file: IO[str], format_: Format, streams: Collection[str], now: int) -> Iterator[Row | Fault]:
    """The rows and the faults of a file, one after the other, in bounded memory."""
    records = _csv(file) if format_ == "csv" else _jsonl(file)
    for line, values in records:
        if isinstance(values, str):
            yield Fault(line, values)
            continue
        try:
            yield Row(line, *_row(values, streams, now))
        except WrongLine as error:
            yield Fault(line, str(error))


def to_dict(address: str | None, one: Suppression) -> dict[str, str | None]:
    """A suppression as both formats hold it."""
    return {
        "address": address,
        "cause": one.cause,
        "scope": {EVERYWHERE: "everywhere", BULK: "bulk"}.get(one.scope, one.scope),
        "since": iso_text(one.since),
        "until": iso_text(one.until) if one.until is not None else None,
        "note": one.note,
    }


def _csv(file: IO[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    reader = csv.reader(_short_lines(file))
    try:
        head = [name.strip().lower() for name in next(reader, [])]
        fault = _head_fault(head)
        if fault:
            yield 1, fault
            return
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(head):
                yield reader.line_num, f"has {len(fields)} fields; the header names {len(head)}"
                continue
            yield reader.line_num, dict(zip(head, fields, strict=True))
    except csv.Error as error:
        yield reader.line_num, f"is not CSV: {error}"


def _head_fault(head: list[str]) -> str:
    unknown = [name for name in head if name not in COLUMNS]
    if "address" not in head:
        return f"the first line must name the columns, address among them; there are {', '.join(COLUMNS)}"
    if unknown:
        return f"unknown column {unknown[0]!r}; there are {', '.join(COLUMNS)}"
    return "" if len(set(head)) == len(head) else "a column stands twice"


def _short_lines(file: IO[str]) -> Iterator[str]:
    while line := file.readline(LONGEST_LINE):
        if "\0" in line:
            raise csv.Error("holds a NUL")
        if len(line) >= LONGEST_LINE:
            raise csv.Error(f"longer than {LONGEST_LINE} characters")
        yield line


def _jsonl(file: IO[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if not line.strip():
            continue
        if len(line) >= LONGEST_LINE:
            yield number, f"longer than {LONGEST_LINE} characters"
            return
        yield number, _object(line)


def _object(line: str) -> dict[str, Any] | str:
    try:
        values = json.loads(line)
    except ValueError as error:
        return f"is not JSON: {error}"
    if not isinstance(values, dict):
        return 'is not an object; right would be {"address": "a@example.com"}'
    unknown = [name for name in values if name not in COLUMNS]
    return f"unknown key {unknown[0]!r}; there are {', '.join(COLUMNS)}" if unknown else values


def _row(values: dict[str, Any], streams: Collection[str], now: int) -> tuple[str, Suppression]:
    wrong = next((name for name, value in values.items() if value is not None and not isinstance(value, str)), None)
    if wrong:
        raise WrongLine(f"{wrong} is not text")
    texts = {name: (values.get(name) or "").strip() for name in COLUMNS}
    if not is_address(texts["address"]):
        raise WrongLine(f"{texts['address']!r} is not an e-mail address")
    cause = texts["cause"].lower() or "operator"
    if cause not in _CAUSES:
        raise WrongLine(f"unknown cause {cause!r}; there are {', '.join(sorted(_CAUSES))}")
    since = _time("since", texts["since"]) if texts["since"] else now
    until = _time("until", texts["until"]) if texts["until"] else None
    if until is not None and until <= since:
        raise WrongLine("until is not after since")
    new = Suppression(_scope(texts["scope"], streams), cause, since, until, texts["note"][:200])
    return texts["address"], new


def _scope(text: str, streams: Collection[str]) -> str:
    scope = SCOPES.get(text.lower(), text)
    if scope not in (EVERYWHERE, BULK) and scope not in streams:
        raise WrongLine(f"no stream {text!r}; there are everywhere, bulk, {', '.join(sorted(streams))}")
    return scope


def _time(name: str, text: str) -> int:
    """Milliseconds since 1970 of a date or time (ISO 8601), or of a number of seconds."""
    if re.fullmatch(r"\d{9,10}", text):
        return int(text) * 1000
    try:
        at = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
    except ValueError:
        raise WrongLine(f"{name} {text!r} is no time; right would be 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
