"""Help: every command and option is explained, at 80 columns, without reading anything."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from retour_cli.main import COMMANDS, main


def commands(group: click.Group = main, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands with the words that call them, groups too."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        yield (*above, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))


ALL = dict(commands())
JSON = {"init", "check", "setup", "doctor", "events", "address", "suppressions", "token", "db", "keys"} | {
    "outbox",
    "stats",
    "storm",
    "trace",
    "unsubscribe",
    "undo",
    "simulate",
    "rebuild",
    "import",
    "purge",
    "erase",
}


@pytest.mark.parametrize("words", list(ALL), ids=" ".join)
def test_every_command_and_option_has_help(words: tuple[str, ...]) -> None:
    """A sentence for the command and one for each option; arguments stand in the usage line."""
    command = ALL[words]
    assert command.help and command.help.strip().endswith((".", ".)")), words
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help and len(parameter.help) > 8, (words, parameter.name)


@pytest.mark.parametrize("words", [(), *ALL], ids=" ".join)
def test_help_fits_80_columns(words: tuple[str, ...]) -> None:
    """No line is longer, and the usage line names the whole command."""
    result = CliRunner().invoke(main, [*words, "--help"], prog_name="retour", env={"RETOUR_CONFIG": "/nowhere"})
    assert result.exit_code == 0
    assert f"Usage: {' '.join(['retour', *words])}" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines()), result.stdout
    assert CliRunner().invoke(main, [*words, "-h"], prog_name="retour").stdout == result.stdout


@pytest.mark.parametrize("words", list(ALL), ids=" ".join)
def test_every_command_of_the_postmaster_speaks_json(words: tuple[str, ...]) -> None:
    """--json everywhere but at services; --config where a configuration is needed."""
    command = ALL[words]
    if isinstance(command, click.Group):
        return
    options = {option for parameter in command.params for option in parameter.opts}
    assert ("--json" in options) == (words[0] in JSON | {"explain"})
    assert ("--config" in options) == (words[0] != "init")


def test_the_overview_tells_all_commands_and_exit_statuses() -> None:
    """`retour --help` needs to import none of them."""
    overview = CliRunner().invoke(main, ["--help"]).stdout
    assert all(f"  {name} " in overview and line.split()[0] in overview for name, (_, line) in COMMANDS.items())
    for status in ("0 done", "1 not found", "2 usage", "75 try again", "78 configuration"):
        assert status in overview


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"], ["events", "--nonsense"], ["events", "--limit", "0"], ["token", "make"], ["address", "show"],
        ["events", "--since", "yesterday"], ["suppressions", "add", "a@b.example", "--until", "soon"],
    ],
)  # fmt: skip
def test_usage_errors_are_2(words: list[str], office: object) -> None:
    """What cannot be understood has exit status 2 and says how to get help."""
    result = office(*words, status=2)  # type: ignore[operator]
    assert result.stdout == "" and "Usage:" in result.stderr
