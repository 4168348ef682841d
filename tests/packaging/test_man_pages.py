"""The man pages say what the code does: every command, every option, every setting."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

import manpages
from retour_cli.main import main
from retour_policy.config.model import Config

NAMED_BY_OTHERS = {"name"}  # of hooks and streams: it stands in the examples of both


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    manpages.main(folder)
    return folder


def shown(path: Path) -> str:
    """What man(1) shows, in lines that are long enough for everything."""
    argv = ["mandoc", "-Tutf8", "-Owidth=1000", path]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return re.sub(".\x08", "", text)  # bold and underlined letters are printed over


def commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    """All commands, by what a person types."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        here = click.Context(command, parent=context, info_name=name)
        if isinstance(command, click.Group):
            yield from commands(command, here)
        else:
            yield here.command_path, command, here


def test_mandoc_has_nothing_to_say_about_them(pages: Path) -> None:
    """They are well formed: not even a warning."""
    files = [pages / "man1/retour.1", pages / "man5/retour.toml.5"]
    done = subprocess.run(["mandoc", "-Tlint", "-W", "warning", *files], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


def test_every_command_and_option_is_in_the_page(pages: Path) -> None:
    """Each command has a heading, and below it each of its options."""
    page = shown(pages / "man1/retour.1")
    top = click.Context(main, info_name="retour")
    for path, command, context in commands(main, top):
        below = page.partition(f"\n   {path} ")[2].partition("\n   retour ")[0]
        assert below, path
        for parameter in command.get_params(context):
            if isinstance(parameter, click.Option) and parameter.get_help_record(context):
                assert max(parameter.opts, key=len) in below, (path, parameter.name)


def settings(model: type[BaseModel]) -> Iterator[str]:
    """The names of all settings of a model, those of its tables included."""
    for name, field in model.model_fields.items():
        inner = [kind for kind in _kinds(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            yield field.alias or name
        for kind in inner:
            yield from settings(kind)


def _kinds(annotation: object) -> Iterator[object]:
    yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _kinds(inner)


def test_every_setting_is_in_the_page(pages: Path) -> None:
    """What the model of the configuration takes is explained in retour.toml(5)."""
    words = set(shown(pages / "man5/retour.toml.5").replace("[", " ").replace(",", " ").split())
    missing = {name for name in settings(Config) if name not in words and f"{name}." not in words}
    assert missing <= NAMED_BY_OTHERS, missing
