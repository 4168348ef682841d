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
ROOMS = ("bounces", "policy", "milter", "lmtpd", "courier", "web", "cli")
LOGS = (ROOT / "docs/logs-and-errors.md").read_text(encoding="utf-8")
MAPS = [ROOT / "docs/architecture.md", ROOT / "docs/how-a-message-goes.md"]
POLICY = ROOT / "policy/retour_policy"
FOLDERS = (ROOT, POLICY, ROOT / "bounces/retour_bounces", ROOT / "cli/retour_cli")
"""Where a path that a map names may begin."""
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


def test_the_page_for_trouble_can_be_read_and_followed() -> None:
    """docs/keeping.md fits 120 columns; before it uses a program that few Debian hosts have, it names the package."""
    text = (ROOT / "docs/keeping.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if len(line) > 120] == []
    assert 0 < text.find("apt-get install sqlite3") < text.find("sqlite3 retour.db")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    """Links within the repository name what is there."""
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    elsewhere = re.findall(r"\]\(https://[^)\s]+\)", text)
    assert len(links) + len(elsewhere) == text.count("](")
    assert [link for link in links if not (page.parent / link).exists()] == []


def code_names() -> set[str]:
    """Modules, packages, functions and classes of the code, and its constant texts: header fields, kinds of facts."""
    found = set(constants(*ROOMS)) | {"retour", *ROOMS}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            found |= {
                one.name for one in nodes if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            }
            found |= {path.stem, path.name, path.parent.name}
    return found


def is_there(name: str, known: set[str]) -> bool:
    """Whether a file or folder has that path, the command can do that, or the code has that name."""
    if "/" in name:
        return any((folder / name).exists() for folder in FOLDERS)
    if name.startswith("retour "):
        return any(f"{name} ".startswith(f"{command} ") for command in commands(main, "retour"))
    return name in known


@pytest.mark.parametrize("page", MAPS, ids=lambda page: page.name)
def test_the_maps_name_what_is_there(page: Path) -> None:
    """Whoever moves or renames a module, a command or a class hears of the page that names it."""
    text, known = (
        re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE),
        code_names(),
    )
    names = {" ".join(name.split()) for name in re.findall(r"`([^`]+)`", text)}
    assert len(names) > 40
    assert {name.partition(" = ")[0] for name in names if not is_there(name.partition(" = ")[0], known)} == set()
    links = re.findall(r"\[`([^`]+)`\]\(([^)#:]+)\)", text)
    assert [link for link in links if not f"{link[1]}/".endswith(f"/{link[0].rstrip('/')}/")] == []


def wings() -> dict[str, set[str]]:
    """What tests/test_rooms.py lets each wing of the policy room import."""
    tree = ast.parse((ROOT / "tests/test_rooms.py").read_text(encoding="utf-8"))
    return next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MAY_USE"
    )


def test_the_map_draws_the_wings_as_they_are_held() -> None:
    """The table of docs/architecture.md has each wing, with what it may import, and all modules of the ground."""
    text = MAPS[0].read_text(encoding="utf-8").partition("\n## The wings of policy\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?:\[`(\w+)/`\]\([^)]+\)|(ground)) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    held = wings()
    assert {wing or ground: set(re.findall(r"\w+", may)) & set(held) for wing, ground, _, may in rows} == held
    (ground,) = (words for _, is_ground, words, _ in rows if is_ground)
    assert set(re.findall(r"`(\w+)`", ground)) == {path.stem for path in POLICY.glob("*.py")} - {"__init__"}
    assert {path.parent.name for path in POLICY.glob("*/__init__.py")} == set(held) - {"ground"}


def test_a_message_goes_through_every_wing() -> None:
    """docs/how-a-message-goes.md leads the reader into each."""
    text = MAPS[1].read_text(encoding="utf-8")
    assert [wing for wing in set(wings()) - {"ground"} if f"../policy/retour_policy/{wing}" not in text] == []


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
