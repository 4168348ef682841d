"""Writes the man pages retour(1) and retour.toml(5): tools/manpages.py FOLDER

They are made from the code, so that they say what it does: of the command's own help, and of config/example.toml, which
is the manual of the configuration.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from retour_cli.answers import Answers
from retour_cli.commands.init import SYSTEM, Places
from retour_cli.main import main as command
from retour_cli.version import version_text
from retour_policy.clock import day_text, system_clock

SEE_ALSO = "/usr/share/doc/retour, /usr/share/doc/retour/docs"
_KEY = re.compile(r"(?:# )?([a-z_]+) = ")
_TABLE = re.compile(r"(?:# )?(\[\[?[a-z.]+\]?\])$")
_COLUMNS = re.compile(r"^\S+.*\S {2,}\S|^ {2,}\S")


def roff(text: str) -> str:
    """`text` as roff(7) prints it unchanged."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    return re.sub(r"^(?=[.'])", r"\\&", escaped, flags=re.MULTILINE)


def page(name: str, section: int, what: str, body: Sequence[str]) -> str:
    """A whole man page."""
    version, today = version_text().split()[0], day_text(system_clock())
    title = f'.TH {name.upper()} {section} "{today}" "Retour {version}" "Retour"'
    return "\n".join([title, ".SH NAME", f"{roff(name)} \\- {roff(what)}", *body]) + "\n"


def literal(lines: Sequence[str]) -> list[str]:
    """Lines that stay as they are."""
    return [".RS 2", ".nf", *map(roff, lines), ".fi", ".RE"]


def _without_first_break(lines: list[str]) -> list[str]:
    """Below a heading no new paragraph begins."""
    return lines[1:] if lines[:1] == [".PP"] else lines


# retour(1)


def command_page() -> str:
    """retour(1), of the help of all commands."""
    top = click.Context(command, info_name="retour")
    body = [".SH SYNOPSIS", ".B retour", "[\\-\\-config FILE] COMMAND [OPTION...] [ARGUMENT...]", ".SH DESCRIPTION"]
    body += _help(command.help or "")
    body += [".SH OPTIONS", *_options(command, top), ".SH COMMANDS"]
    for name in command.list_commands(top):
        body += _command(command.get_command(top, name), click.Context(command, info_name="retour"), name)
    body += [".SH ENVIRONMENT", ".TP", ".B RETOUR_CONFIG", "The configuration file, where no option names one."]
    body += [".SH FILES", *_files(), ".SH SEE ALSO", "retour.toml(5)", ".PP", roff(SEE_ALSO)]
    return page("retour", 1, "tells the mail server who cannot be reached by mail, and why", body)


def _command(one: click.Command | None, parent: click.Context, name: str) -> list[str]:
    """A command, and those below it."""
    assert one is not None, name
    here = click.Context(one, parent=parent, info_name=name)
    if isinstance(one, click.Group):
        below = [_command(one.get_command(here, sub), here, sub) for sub in one.list_commands(here)]
        return [line for lines in below for line in lines]
    usage = " ".join([here.command_path, *one.collect_usage_pieces(here)])
    return [".SS", f"\\fB{roff(usage)}\\fR", *_help(one.help or ""), *_options(one, here)]


def _help(text: str) -> list[str]:
    """Paragraphs; those that click keeps as they are (\\b) are kept here, too."""
    lines: list[str] = []
    for paragraph in map(inspect.cleandoc, re.split(r"\n\s*\n", text.strip())):
        if paragraph.startswith("\b"):
            lines += [".PP", *literal(paragraph.removeprefix("\b").strip("\n").splitlines())]
        else:
            lines += [".PP", roff(" ".join(paragraph.split()))]
    return _without_first_break(lines)


def _options(one: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in one.get_params(context):
        if record := parameter.get_help_record(context):
            names, words = record
            yield from (".TP", f"\\fB{roff(names)}\\fR", roff(" ".join(words.split())))


def _files() -> Iterator[str]:
    places = Places.below(SYSTEM)
    for path, what in (
        (places.config, "The configuration: retour.toml(5)."),
        (places.keyring, "The key ring. Who can read it can forge bounces."),
        (places.database, "All that Retour knows. `retour db backup` copies it."),
        (places.sockets, "The sockets that Postfix asks."),
    ):
        yield from (".TP", f"\\fI{roff(str(path))}\\fR", roff(what))


# retour.toml(5)


def configuration_page() -> str:
    """retour.toml(5), of the commented example."""
    text = Answers.of("bounces.example.com").configuration(Places.below(SYSTEM).marks)
    intro, *tables = _tables(text.splitlines())
    body = [".SH DESCRIPTION", *_without_first_break(_table(intro[1])), ".SH TABLES"]
    for title, lines in tables:
        body += [f".SS {roff(title)}", *_without_first_break(_table(lines))]
    body += [".SH SEE ALSO", "retour(1)", ".PP", roff(SEE_ALSO)]
    return page("retour.toml", 5, "the configuration of Retour", body)


def _tables(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each table's header and what stands below it; first, without a header, what stands above all."""
    title, gathered = "", list[str]()
    for line in lines:
        if found := _TABLE.match(line):
            yield title, gathered
            title, gathered = found[1], []
        else:
            gathered.append(line)
    yield title, gathered


def _table(lines: Sequence[str]) -> list[str]:
    """Comments explain the keys that follow them, up to the next comment or empty line."""
    made, comment, keys = list[str](), list[str](), list[str]()
    for line in [*lines, ""]:
        is_key = bool(_KEY.match(line))
        if keys and not is_key:
            made, comment, keys = [*made, *_item(keys, comment)], [], []
        if is_key:
            keys.append(line.removeprefix("# "))
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").removeprefix(" "))
        elif comment:
            made, comment = [*made, *_words(comment)], []
    return made


def _item(keys: Sequence[str], comment: Sequence[str]) -> list[str]:
    tags = [".TP", *[line for key in keys for line in (f"\\fB{roff(key)}\\fR", ".TQ")][:-1]]
    return [*tags, *[line for line in _words(comment) if line != ".PP"]]


def _words(comment: Sequence[str]) -> list[str]:
    """Prose is filled; what is laid out in columns stays so."""
    if any(_COLUMNS.search(line) for line in comment):
        return [".PP", *literal(comment)]
    return [".PP", *map(roff, filter(None, comment))]


def main(folder: Path) -> None:
    """Write both below `folder`, such as /usr/share/man."""
    for name, section, text in (("retour", 1, command_page()), ("retour.toml", 5, configuration_page())):
        path = folder / f"man{section}" / f"{name}.{section}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
