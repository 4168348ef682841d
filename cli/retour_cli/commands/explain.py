"""`retour explain`: what a returned message is, and why; needs neither configuration nor database."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from retour_bounces import Report, RuleError, Rules, read, unrecognised
from retour_cli.output import counted, spaced, wrapped
from retour_cli.render.report import report_lines
from retour_policy.errors import EX_CONFIG, EX_FAILED

if TYPE_CHECKING:
    from retour_cli.context import Context

MAX_EXAMPLE_CHARACTERS = 400
MAX_MESSAGE_OCTETS = 10_000_000  # read of a message: a file may be a device that never ends
MAX_LINE_OCTETS = 65_536  # read of an mbox at a time
_SEVERAL = re.compile(rb"From .*?\n\r?\nFrom \S+ +(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ", re.DOTALL)
_MAIL = re.compile(rb"\s*(?:From |[!-9;-~]{1,80}[ \t]*:)")


@dataclass(frozen=True)
class Read:
    """One message: its report, and its errors."""

    file: str
    data: bytes
    report: Report
    complaint: str | None = None
    opened: bool = True


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE...|-]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a message.")
@click.option("--rules", "rule_file", metavar="FILE", help="Rules of your own, tried before the built-in ones.")
@click.option("--policy", "with_policy", is_flag=True, help="Also what recording it would lead to now.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="RETOUR_CONFIG",
    default=Path("/etc/retour/retour.toml"),
    help="The configuration; only --policy reads it, and the rules that it names.",
)
@click.option("--unrecognised", is_flag=True, help="List what no rule knows in files and folders, grouped.")
def explain(
    files: tuple[str, ...], as_json: bool, rule_file: str | None, with_policy: bool, config: Path, unrecognised: bool
) -> None:
    """Show what a returned message is, and why.

    Reads each FILE (or standard input, "-") and shows its kind, its
    recipients, the verdict about each and the words that it rests on. With
    --policy also what recording it would lead to; nothing is recorded.
    In a file named *.mbox each message is read. Of a message, the first 10 MB
    are read.

    Exit status 1 if a file could not be opened.
    """
    messages: Iterable[_Opened] = _open_each(files, unrecognised)
    policy = None
    if with_policy:
        context = _context(config)
        own = _rules(rule_file) if rule_file else None
        messages = list(messages)  # all that is named here, before root becomes the owner of the database
        rules, policy = context.rules if own is None else own, _policy(context)
    else:
        rules = _rules(rule_file)
    failures = 0
    heap: list[tuple[str, bytes, Report]] = []
    kinds: Counter[str] = Counter()
    for one in (_read(message, rules) for message in messages):
        failures += not one.opened
        if one.complaint:
            click.echo(spaced(f"retour explain: {one.file}: {one.complaint}"), err=True)
        if unrecognised:
            heap += [(one.file, one.data, one.report)] if one.complaint is None else []
        elif as_json or one.opened:
            _print(one, as_json, policy)
            kinds[one.report.kind] += one.opened
    if unrecognised:
        _list_unrecognised(heap, rules, as_json)
    elif kinds.total() > 1 and not as_json:
        click.echo(f"{kinds.total()} messages: " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()))
    sys.exit(EX_FAILED if failures else 0)


def _context(config: Path) -> Context:
    """The configuration, good; loaded only if it is needed. Raises `ConfigError`."""
    from retour_cli.context import Context

    context = Context(config)
    _ = context.config
    return context


Policy = Callable[[bytes, Report], list[str]]


def _policy(context: Context) -> Policy:
    """The dry run of the policy; loaded only if it is needed."""
    from retour_cli.dry_run import dry_run

    return lambda data, report: dry_run(context, data, report)


def _print(one: Read, as_json: bool, policy: Policy | None) -> None:
    would = policy(one.data, one.report) if policy and one.opened else []
    if as_json:
        said = {"error": one.complaint} if one.complaint else {}
        click.echo(json.dumps({"file": one.file} | one.report.to_dict() | said | ({"policy": would} if policy else {})))
        return
    lines = list(report_lines(one.file, one.data, one.report))
    if would:
        lines += [
            "",
            "  What policy would do now",
            *(line for text in would for line in wrapped("    ", text, of_report=True)),
        ]
    click.echo("\n".join([*lines, ""]))


def _rules(path: str | None) -> Rules:
    if path is None:
        return Rules.bundled()
    try:
        return Rules.from_file(path)
    except (RuleError, OSError) as error:
        said = str(error) if isinstance(error, RuleError) else f"{path}: {error.strerror}"
        click.echo(spaced(f"retour explain: {said}"), err=True)
        sys.exit(EX_CONFIG)


@dataclass(frozen=True)
class _Octets:
    """What is read of a message, and whether there is more of it."""

    data: bytes
    is_cut: bool = False


@dataclass(frozen=True)
class _Opened:
    """A message in a file; or why there is none."""

    file: str
    octets: _Octets
    error: str | None = None


def _open_each(names: tuple[str, ...], folders: bool) -> Iterator[_Opened]:
    """Each message of the files named."""
    if not names and sys.stdin.isatty():
        click.echo("retour explain: reading a message from standard input", err=True)
    for name in _files(names, folders) if names else ["-"]:
        try:
            for place, octets in _messages(name):
                yield _Opened(place, octets)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            hint = "; --unrecognised reads folders" if isinstance(error, IsADirectoryError) else ""
            yield _Opened(name, _Octets(b""), f"{why or error}{hint}")


def _files(names: tuple[str, ...], folders: bool) -> Iterator[str]:
    """The files named, and with `folders` those in folders."""
    for name in names:
        if folders and name not in ("", "-") and Path(name).is_dir():
            yield from (str(path) for path in sorted(Path(name).rglob("*")) if path.is_file())
        else:
            yield name


def _messages(name: str) -> Iterator[tuple[str, _Octets]]:
    """The octets of a message and its place; each message of an mbox. Raises `OSError`, `ValueError`."""
    if name == "-":
        yield name, _first_of(sys.stdin.buffer)
    elif not name:
        raise ValueError("a file without a name")
    elif name.lower().endswith(".mbox") and Path(name).is_file():
        number = 0
        with Path(name).open("rb") as file:
            for number, octets in enumerate(_of_mbox(file), 1):
                yield f"{name}:{number}", octets
            if not number:
                file.seek(0)
                yield name, _first_of(file)
    else:
        with Path(name).open("rb") as file:
            octets = _first_of(file)
        if _SEVERAL.match(octets.data):
            text = f"retour explain: {name}: only its first message is read; call an mbox *.mbox"
            click.echo(spaced(text), err=True)
        yield name, octets


def _first_of(file: BinaryIO) -> _Octets:
    """The beginning of a file, which may have no end."""
    data = file.read(MAX_MESSAGE_OCTETS + 1)
    return _Octets(data[:MAX_MESSAGE_OCTETS], len(data) > MAX_MESSAGE_OCTETS)


def _of_mbox(file: BinaryIO) -> Iterator[_Octets]:
    """The messages of an mbox, without the lines "From " and the empty ones before these; none if it is no mbox."""
    message: bytearray | None = None
    is_cut, begins_line = False, True
    while line := file.readline(MAX_LINE_OCTETS):
        if begins_line and line.startswith(b"From "):
            if message is not None:
                yield _Octets(_without_empty_line(message), is_cut)
            message, is_cut = bytearray(), False
        elif message is not None:
            is_cut = is_cut or len(message) + len(line) > MAX_MESSAGE_OCTETS
            message += b"" if is_cut else line
        begins_line = line.endswith(b"\n")
    if message is not None:
        yield _Octets(_without_empty_line(message), is_cut)


def _without_empty_line(message: bytearray) -> bytes:
    """A message of an mbox without the line end that was added to it."""
    end = next((end for end in (b"\r\n", b"\n") if (b"\n" + message).endswith(b"\n" + end)), b"")
    return bytes(message.removesuffix(end))


def _read(opened: _Opened, rules: Rules) -> Read:
    name, octets = opened.file, opened.octets
    if opened.error is not None:
        return Read(name, b"", Report("not-a-report"), opened.error, opened=False)
    data, complaint = octets.data, None
    if octets.is_cut:
        click.echo(
            spaced(f"retour explain: {name}: only its first {MAX_MESSAGE_OCTETS // 1_000_000} MB are read"), err=True
        )
    if not data.strip():
        complaint = "empty"
    elif b"\0" in data[:4_000] or not _MAIL.match(data):
        complaint = "no mail: it does not begin with a header"
    report = read(data, rules=rules)
    return Read(name, data, replace(report, truncated=report.truncated or octets.is_cut), complaint)


def _list_unrecognised(heap: list[tuple[str, bytes, Report]], rules: Rules, as_json: bool) -> None:
    groups = unrecognised.group(heap, rules)
    for one in groups:
        if as_json:
            click.echo(json.dumps({"count": one.count, "status": one.status, "text": one.example, "file": one.file}))
            continue
        label = f"{one.count:5d}  {one.status or '-':<7} "
        for line in wrapped(label, one.example[:MAX_EXAMPLE_CHARACTERS], of_report=True):
            click.echo(line)
        click.echo(f"{'':15}{spaced(one.file)}")
    if not as_json:
        count = sum(one.count for one in groups)
        click.echo(
            f"{count} {'reply' if count == 1 else 'replies'} in {counted(len(groups), 'group')} that no rule knows, "
            f"{counted(len(heap), 'message')} read"
        )
