"""The command `retour`: finds the subcommand and loads only what it needs."""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    # name: (module, attribute, one line for `retour --help`)
    "explain": ("retour_cli.explain", "explain", "What a returned message is, and why."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand's module only when that subcommand is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup)
def main() -> None:
    """Knows which recipients cannot be reached, why, and makes the mail server act on it."""
