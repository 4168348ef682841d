"""`retour explain`: what a returned message is, and why; needs neither configuration nor database."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retour_bounces import RecipientReport, Report, RuleError, Rules, passages, read, unrecognised
from retour_cli.output import counted

if TYPE_CHECKING:
    from retour_cli.setup import Setup

WIDTH = 80
CONFIGURATION = 78
_MAIL = re.compile(rb"\s*(?:From |[!-9;-~]{1,80}[ \t]*:)")


@dataclass(frozen=True)
class Read:
    """One file: its report, and what is to be complained of."""

    file: str
    data: bytes
    report: Report
    complaint: str | None = None
    opened: bool = True


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE...|-]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a message.")
@click.option("--rules", "rule_file", metavar="FILE", help="Rules of your own, asked before the bundled ones.")
@click.option("--policy", "with_policy", is_flag=True, help="And what policy would do with it now.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="RETOUR_CONFIG",
    default=Path("/etc/retour/retour.toml"),
    help="The configuration; only --policy needs it.",
)
@click.option("--unrecognised", is_flag=True, help="List what no rule knew in files and folders, grouped.")
def explain(
    files: tuple[str, ...], as_json: bool, rule_file: str | None, with_policy: bool, config: Path, unrecognised: bool
) -> None:
    """What a returned message is, and why.

    Reads each FILE (or standard input, "-") and shows its kind, its
    recipients, the verdict about each and the words that it rests on. With
    --policy also what recording it would lead to; nothing is recorded.
    """
    rules = _rules(rule_file) if rule_file or not with_policy else _setup(config).rules
    policy = _policy(config) if with_policy else None
    failures = 0
    heap: list[tuple[str, bytes, Report]] = []
    for name in list(_files(files, unrecognised)) or ["-"]:
        one = _read(name, rules)
        failures += not one.opened
        if one.complaint:
            click.echo(_clean(f"retour explain: {one.file}: {one.complaint}"), err=True)
        if unrecognised:
            heap.append((one.file, one.data, one.report))
        elif as_json or one.opened:
            _print(one, as_json, policy)
    if unrecognised:
        _list_unrecognised(heap, rules, as_json)
    sys.exit(1 if failures else 0)


def _setup(config: Path) -> Setup:
    """What is configured; loaded only where it is asked for."""
    from retour_cli.setup import Setup

    return Setup(config)


Policy = Callable[[bytes, Report], list[str]]


def _policy(config: Path) -> Policy:
    """What says what policy would do; loaded only where it is asked for."""
    from retour_cli.rehearsal import rehearse

    setup = _setup(config)
    return lambda data, report: rehearse(setup, data, report)


def _print(one: Read, as_json: bool, policy: Policy | None) -> None:
    would = policy(one.data, one.report) if policy and one.opened else []
    if as_json:
        said = {"policy": would} if policy else {}
        click.echo(json.dumps({"file": one.file} | one.report.to_dict() | said))
        return
    click.echo("\n".join(_shown(one)))
    if would:
        click.echo(
            "\n".join(
                ["", "  What policy would do now", *(line for text in would for line in _wrap("    ", _clean(text)))]
            )
        )


def _rules(path: str | None) -> Rules:
    if path is None:
        return Rules.bundled()
    try:
        return Rules.from_file(path)
    except (RuleError, OSError) as error:
        said = str(error) if isinstance(error, RuleError) else f"{path}: {error.strerror}"
        click.echo(_clean(f"retour explain: {said}"), err=True)
        sys.exit(CONFIGURATION)


def _files(names: tuple[str, ...], folders: bool) -> Iterator[str]:
    """The files named; those in folders too, where folders are wanted."""
    for name in names:
        if folders and name != "-" and Path(name).is_dir():
            yield from (str(path) for path in sorted(Path(name).rglob("*")) if path.is_file())
        else:
            yield name


def _read(name: str, rules: Rules) -> Read:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        return Read(name, b"", Report("not-a-report"), error.strerror or str(error), opened=False)
    except ValueError as error:
        return Read(name, b"", Report("not-a-report"), str(error), opened=False)
    complaint = None
    if not data.strip():
        complaint = "empty"
    elif b"\0" in data[:4_000] or not _MAIL.match(data):
        complaint = "no mail: it does not begin with a header"
    return Read(name, data, read(data, rules=rules), complaint)


def _shown(one: Read) -> Iterator[str]:
    """The lines that explain a message to a person, none wider than a terminal."""
    report = one.report
    yield f"{_clean(one.file)}: {click.style(report.kind, bold=True)}{', cut short' if report.truncated else ''}"
    about = ", ".join(filter(None, (report.reason, report.recipient)))
    if about:
        yield from _wrap("  ", _clean(about))
    for recipient in report.reports:
        yield ""
        yield from _recipient(recipient)
    original = report.original
    facts = {
        "message id": original.message_id,
        "reference": original.retour_ref,
        "subject": original.subject,
        "sender": original.sender,
        "envelope id": original.envelope_id,
    }
    if any(facts.values()):
        yield ""
        yield "  The message that came back"
        for label, value in facts.items():
            if value:
                yield from _wrap(f"    {label:<12} ", _clean(value))
    found = passages.find(one.data, report)
    if found:
        yield ""
        yield "  Lines that this rests on"
        for passage in found:
            yield from _marked(passage)
    yield ""


def _recipient(one: RecipientReport) -> Iterator[str]:
    verdict = ", ".join(filter(None, (one.action, one.type, one.reason)))
    blame = f"; {one.blame} can mend it" if one.blame and one.blame != "nobody" else ""
    yield from _wrap("  ", f"{_clean(one.recipient or 'a recipient that is not named')}: {verdict}{blame}")
    source = {"wire": " (stands in the message)", "derived": " (concluded)"}.get(one.status_source or "", "")
    facts = {
        "first sent to": one.original_recipient if one.original_recipient != one.recipient else None,
        "known inside as": one.inner_recipient,
        "status": f"{one.status}{source}" if one.status else None,
        "rule": _rule(one),
        "fired on": f'"{one.evidence}"' if one.evidence else None,
        "said": one.diagnostic or None,
        "but": one.contradiction,
    }
    for label, value in facts.items():
        if value:
            yield from _wrap(f"    {label:<15} ", _clean(value))


def _rule(one: RecipientReport) -> str | None:
    if one.rule or one.reason:
        return one.rule or "none; the code table"
    unknown = one.action == "failed" and one.blame == "nobody"
    return "none knows these words, so it counts for nobody: docs/rules.md" if unknown else None


def _marked(passage: passages.Passage) -> Iterator[str]:
    """A line around its evidence, and marks beneath it."""
    room = WIDTH - 6
    begin = max(0, min(passage.start - 20, len(passage.line) - room))
    line = _clean(passage.line[begin : begin + room])
    start, end = passage.start - begin, min(passage.end - begin, room)
    yield f"    | {line}"
    yield f"      {' ' * start}{'^' * max(1, end - start)}"


def _wrap(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=label, subsequent_indent=" " * min(len(label), 24), break_on_hyphens=False
    ) or [label.rstrip()]


def _clean(text: str) -> str:
    """`text` without what would move the cursor of a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _list_unrecognised(heap: list[tuple[str, bytes, Report]], rules: Rules, as_json: bool) -> None:
    groups = unrecognised.group(heap, rules)
    for one in groups:
        if as_json:
            click.echo(json.dumps({"count": one.count, "status": one.status, "text": one.example, "file": one.file}))
            continue
        for line in _wrap(f"{one.count:5d}  {one.status or '-':<7} ", _clean(one.example)[:400]):
            click.echo(line)
        click.echo(f"{'':15}{_clean(one.file)}")
    if not as_json:
        count = sum(one.count for one in groups)
        click.echo(
            f"{count} {'reply' if count == 1 else 'replies'} in {counted(len(groups), 'group')} that no rule knows, "
            f"{counted(len(heap), 'file')} read"
        )
