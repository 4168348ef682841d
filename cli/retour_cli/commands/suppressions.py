"""Suppressions: which addresses are suppressed: listed, added, lifted, and exchanged with other systems."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click
from sqlalchemy import Connection

from retour_cli.context import Context, options
from retour_cli.output import counted, json_option, print_in_utf_8, print_json, print_table, prints_as_a_whole, say
from retour_cli.times import Times, zone_option
from retour_policy.clock import DAY, day_text
from retour_policy.core.decide import BULK
from retour_policy.core.scope import parse_scope, scope_text
from retour_policy.core.suppression import CAUSES, Suppression
from retour_policy.errors import EX_FAILED, InputError
from retour_policy.ledger.accounts import lock
from retour_policy.maintenance import suppression_files
from retour_policy.maintenance.suppression_files import COLUMNS, MAX_NOTE_CHARACTERS, Fault, Format, Row
from retour_policy.maintenance.suppression_import import SuppressionImport
from retour_policy.sanitize import clean
from retour_policy.store import addresses
from retour_policy.store.addresses import Address
from retour_policy.store.facts import NewFact
from retour_policy.store.suppressions import count_in_force, iterate_in_force, read_in_force

_DAYS = re.compile(r"(\d{1,5})d")
STANDARD_INPUT = Path("-")
_WHERE = {BULK: "bulk mail"}
scope_option = click.option(
    "--scope", help="A stream's name, or bulk: all that are not transactional. [default: everywhere]"
)
format_option = click.option("--format", "format_", type=click.Choice(["csv", "jsonl"]), help="[default: by the name]")


@click.group()
def suppressions() -> None:
    """Suppressed addresses."""


@suppressions.command("list")
@options
@click.option(
    "--limit", type=click.IntRange(1), default=1_000, show_default=True, help="At most this many. [JSON: all]"
)
@json_option
def list_(context: Context, limit: int, as_json: bool) -> None:
    """Suppressions in force, the oldest first; with --json in no order."""
    now = context.clock()
    if as_json:
        for address, one in iterate_in_force(context.store, now):
            print_json(suppression_files.to_dict(address, one))
        return
    with context.store.reading() as connection:
        found, count = read_in_force(connection, now, limit=limit), count_in_force(connection, now)
    if found:
        print_table(("address", "where", "since", "until", "why"), [_as_row(*one) for one in found])
    else:
        click.echo("nobody is suppressed")
    if count > len(found):
        click.echo(f"and {count - len(found)} more; --limit, --json or `retour suppressions export` shows them")


@suppressions.command()
@click.argument("address")
@options
@scope_option
@click.option("--until", help="30d, or a date. [default: for good]")
@zone_option
@click.option("--note", default="", help="Why; shown in lists and in the 550.")
@json_option
def add(
    context: Context, address: str, scope: str | None, until: str | None, zone: str, note: str, as_json: bool
) -> None:
    """Suppress ADDRESS.

    This replaces a suppression that the address has there already.
    """
    key, times = context.key(address), Times.of(zone, context.clock)
    now, words = times.now, " ".join(clean(note, MAX_NOTE_CHARACTERS).split())
    new = Suppression(_scope(context, scope), "operator", now, _until(until, times), words)
    detail = {"scope": new.scope, "note": new.note, "until": new.until}
    ledger, secret = context.ledger, context.ring.address_secret

    def work(connection: Connection) -> None:
        number = addresses.ensure(connection, secret, [address])[address]
        ledger.write(
            connection, Address(number, key), NewFact(now, "suppress", number, reason="operator", detail=detail)
        )

    context.write(work)
    if as_json:
        print_json(suppression_files.to_dict(address, new))
    else:
        say(f"{address}: {new.words()}")


@suppressions.command()
@click.argument("address")
@options
@scope_option
@json_option
def remove(context: Context, address: str, scope: str | None, as_json: bool) -> None:
    """Lift the suppression of ADDRESS; its counts start again at zero.

    Exit status 1 if it was not suppressed and had no counts.
    """
    key, now, ledger = context.key(address), context.clock(), context.ledger
    where = _scope(context, scope) if scope else None

    def work(connection: Connection) -> list[str]:
        number = addresses.find_number(connection, key)
        if number is None:
            return []
        account = lock(connection, Address(number, key))
        scopes = sorted(
            {*account.suppressions, *account.state.counts} if where is None else {where} & {*account.suppressions}
        )
        if scopes:
            new = NewFact(now, "lift", number, reason="operator", detail={"scopes": scopes})
            ledger.write(connection, Address(number, key), new)
        return scopes

    scopes = context.write(work)
    if not scopes:
        say(f"{address}: was not suppressed", err=True)
        raise SystemExit(EX_FAILED)
    if as_json:
        print_json({"address": address, "lifted": scopes})
    else:
        where = ", ".join(_where(scope) for scope in scopes)
        say(f"{address}: not suppressed any more ({where}), counts start again at zero")


@suppressions.command()
@options
@format_option
@json_option
def export(context: Context, format_: Format | None, as_json: bool) -> None:
    """Print all suppressions in force, as CSV or JSON lines.

    `retour suppressions import` reads both. Addresses that were erased are
    left out. Works without the key ring of the database, too.
    """
    print_in_utf_8()
    prints_as_a_whole()
    as_lines = as_json or format_ == "jsonl"
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    if not as_lines:
        writer.writeheader()
    erased = 0
    for address, one in iterate_in_force(context.store_of_any_ring, context.clock()):
        if address is None:
            erased += 1
        elif as_lines:
            print_json(suppression_files.to_dict(address, one))
        else:
            writer.writerow(suppression_files.to_dict(address, one))
    if erased:
        say(f"left out: {erased} of addresses that were erased", err=True)


@suppressions.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@options
@format_option
@click.option("--dry-run", is_flag=True, help="Check the file, and change nothing.")
@json_option
def import_(context: Context, file: Path, format_: Format | None, dry_run: bool, as_json: bool) -> None:
    """Suppress the addresses in FILE (or -): CSV with named columns, or JSON lines.

    \b
    Columns: address (needed), cause, scope, since, until, note.
    Without until a suppression is for good, for any cause.

    The whole file is checked first. Where a line is wrong, all wrong lines
    are listed, nothing is applied, and the exit status is 1. Importing twice
    changes nothing the second time; a run that was stopped can be repeated.
    An address that is suppressed for longer already stays so; suppressions
    that have run out are skipped.
    """
    shape: Format = format_ or ("jsonl" if file.suffix in (".jsonl", ".json", ".ndjson") else "csv")
    with _opened(file) as text:
        file = Path("standard input") if file == STANDARD_INPUT else file
        _import(context, file, text, shape, dry_run=dry_run, as_json=as_json)


def _import(context: Context, file: Path, text: IO[str], shape: Format, *, dry_run: bool, as_json: bool) -> None:
    count = _checked(context, file, text, shape, as_json=as_json)
    if dry_run:
        print_json({"lines": count}) if as_json else click.echo(f"{counted(count, 'line')}, all good")
        return
    importer = SuppressionImport(context.store, context.ring.address_secret, context.ledger, context.clock())
    rows = (one for one in _read(context, file, text, shape) if isinstance(one, Row))
    applied = 0
    with click.progressbar(length=count, label="importing", hidden=as_json) as bar:
        for done, fresh in importer.apply(rows):
            bar.update(done)
            applied += fresh
    if as_json:
        print_json({"lines": count, "new": applied})
    else:
        click.echo(f"{counted(count, 'line')}, {applied} of them new")


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[IO[str]]:
    """The file, opened before root becomes another user, and such that it can be read twice. Raises `InputError`."""
    try:
        raw: IO[bytes] = sys.stdin.buffer if file == STANDARD_INPUT else file.open("rb")
        if not raw.seekable():  # a pipe
            raw = _copied(raw)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    with raw, io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", newline="") as text:
        yield text


def _copied(pipe: IO[bytes]) -> IO[bytes]:
    kept = tempfile.TemporaryFile()  # noqa: SIM115  who asks for it closes it
    with pipe:
        shutil.copyfileobj(pipe, kept)
    return kept


def _checked(context: Context, file: Path, text: IO[str], shape: Format, *, as_json: bool) -> int:
    """How many rows there are. If lines are wrong, lists all of them and exits."""
    good, faults = 0, 0
    for one in _read(context, file, text, shape):
        good += isinstance(one, Row)
        if isinstance(one, Fault):
            faults += 1
            say(f"{file}:{one.line}: {one.text}", err=True)
    if faults:
        if as_json:
            print_json({"lines": good + faults, "wrong": faults})
        else:
            number = counted(good + faults, "line")
            click.echo(f"nothing was applied: {faults} of {number} {'is' if faults == 1 else 'are'} wrong")
        raise SystemExit(EX_FAILED)
    return good


def _read(context: Context, file: Path, text: IO[str], shape: Format) -> Iterator[Row | Fault]:
    streams = [stream.name for stream in context.config.stream]
    try:
        text.seek(0)
        yield from suppression_files.read_rows(text, shape, streams, context.clock())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error


def _scope(context: Context, text: str | None) -> str:
    try:
        return parse_scope(text or "", [stream.name for stream in context.config.stream])
    except LookupError as error:
        raise InputError(f"{context.path}: {error}") from None


def _until(text: str | None, times: Times) -> int | None:
    if text is None:
        return None
    found = _DAYS.fullmatch(text)
    at = times.now + int(found[1]) * DAY if found else times.parse(text)
    if at <= times.now:
        raise InputError(f"--until {text}: is in the past; use 30d or a future date")
    return at


def _where(scope: str) -> str:
    return _WHERE.get(scope) or scope_text(scope)


def _as_row(address: str | None, one: Suppression) -> tuple[str, str, str, str, str]:
    why = CAUSES.get(one.cause, one.cause) + (f" ({one.note})" if one.note else "")
    until = day_text(one.until) if one.until else "for good"
    return address or "(erased)", _where(one.scope), day_text(one.since), until, why
