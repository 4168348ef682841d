"""What README.md and docs/ say is complete: commands, log events, replies, and links that lead somewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest

from retour_cli.main import main
from retour_policy.messages.returned import Outcome

ROOT = Path(__file__).parents[2]
ROOMS = ("bounces", "policy", "milter", "lmtpd", "courier", "cli")
LOGS = (ROOT / "docs/logs-and-errors.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
REPLY = re.compile(r"(?:[45]\d\d [45]\.\d\.\d|TEMP|PERM) .*[\w>]")


def calls() -> Iterator[ast.Call]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def constants(*rooms: str) -> Iterator[str]:
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                    yield node.value.decode() if isinstance(node.value, bytes) else node.value


def logged() -> set[str]:
    """The events of all log calls. `log.info(outcome)` is the one that has a variable."""
    firsts = [
        call.args[0]
        for call in calls()
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in LEVELS
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "log"
    ]
    assert [ast.unparse(first) for first in firsts if not isinstance(first, ast.Constant)] == ["outcome"]
    return {str(first.value) for first in firsts if isinstance(first, ast.Constant)} | set(get_args(Outcome))


def replies() -> set[str]:
    """Replies that refuse or defer, written as one text, or as code, status and text of a `Reply`."""
    found = {text.strip() for text in constants("lmtpd") if REPLY.fullmatch(text.strip())}
    for call in calls():
        if isinstance(call.func, ast.Name) and call.func.id == "Reply":
            values = [part.value for part in call.args if isinstance(part, ast.Constant)]
            found |= {" ".join(map(str, values))} if len(values) == 3 else set()
    return found


def documented(section: str) -> set[str]:
    """The first column of the tables in a section."""
    text = LOGS.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE))


def test_every_log_event_is_documented_and_no_other() -> None:
    """docs/logs-and-errors.md has a row for each event that the code logs."""
    assert documented("Log events") == logged()


def test_every_reply_is_documented_and_no_other() -> None:
    """It has a row for each reply that refuses (one, which holds address and date, is no constant of the code)."""
    assert {
        reply for reply in documented("Replies over SMTP") if "ADDRESS" not in reply and reply[:3] != "250"
    } == replies()


def commands(group: click.Group, name: str) -> Iterator[str]:
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}"


def test_every_command_stands_in_the_readme() -> None:
    """The table of README.md has a row for each command, and no row for another."""
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## The command\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(retour(?: [a-z]+)+)", table, re.MULTILINE)
    assert sorted(rows) == sorted(commands(main, "retour"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    """Links within the repository name what is there."""
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert len(links) == text.count("](")
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_test_that_the_documentation_names_exists() -> None:
    """A reader who follows the name from a setting to its test finds it."""
    for page in PAGES:
        for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text(encoding="utf-8")):
            source = (ROOT / path).read_text(encoding="utf-8")
            assert f"def {name}(" in source if name else source, f"{page.name}: {path}::{name}"


def test_every_setting_of_the_seed_documents_has_its_test() -> None:
    """Or says why it has no counterpart."""
    rows = (ROOT / "docs/seed-documents.md").read_text(encoding="utf-8").splitlines()
    settings = [row for row in rows if row.startswith("| ") and not row.startswith("| there ")]
    assert len(settings) > 20
    for row in settings:
        assert "::test_" in row or row.endswith("| the same |") or "no counterpart: " in row, row
