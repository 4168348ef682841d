"""The command `retour`: finds the subcommand, loads only what it needs, and turns errors into exit statuses."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import click

from retour_cli.output import output_complete, say

COMMANDS = {
    # name: (module, one line for `retour --help`); the module has a command of that name, with _ for a keyword
    "init": ("commands.init", "Write a configuration, a key ring and a database to begin with."),
    "setup": ("commands.setup", "Show what Postfix and the DNS need; with --apply, write it."),
    "doctor": ("commands.doctor", "Find what is wrong with Retour, Postfix and the DNS, and what mends it."),
    "check": ("commands.check", "Check the configuration, and show what it means."),
    "serve": ("services.serve", "Run all services together, for a small host or a try-out."),
    "milter": ("services.milter", "Run the milter: stamps outgoing mail, refuses suppressed recipients."),
    "lmtpd": ("services.lmtpd", "Run the LMTP daemon: receives returned mail, answers lookups."),
    "courier": ("services.courier", "Run the courier: hooks, forwards, resends."),
    "web": ("services.web", "Run the web service: people unsubscribe there, and their mail programs."),
    "explain": ("commands.explain", "Show what a returned message is, and why."),
    "events": ("commands.events", "List the history of facts: what came back, what was decided."),
    "address": ("commands.address", "Show all about one address: sends, counts, suppressions, and why."),
    "trace": ("commands.trace", "Follow a message there and back, by queue id, Message-ID or address."),
    "suppressions": ("commands.suppressions", "List, add and remove suppressed addresses."),
    "unsubscribe": ("commands.unsubscribe", "Take an address off a stream, as its owner asked, or put it back."),
    "storm": ("commands.storm", "List storms (bursts of failures at one receiver), and decide on them."),
    "undo": ("commands.undo", "Take back what the failures of an outage caused."),
    "simulate": ("commands.simulate", "Show who would be suppressed under another configuration."),
    "rebuild": ("commands.rebuild", "Compute all states again from the facts, and correct them."),
    "import": ("commands.import_", "Record old bounces from an mbox, a Maildir or .eml files."),
    "purge": ("commands.purge", "Delete what is old, and keep what it came to."),
    "erase": ("commands.erase", "Erase a person's data but keep the suppression."),
    "outbox": ("commands.outbox", "List what waits for hooks and relays; try it again, or drop it."),
    "stats": ("commands.stats", "Show how much waits in the outbox, and since when."),
    "token": ("commands.token", "Make a VERP address to try things with, or read one."),
    "keys": ("commands.keys", "Sign with the next key from now on."),
    "db": ("commands.db", "Show the database's schema; upgrade, compact or copy the database."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand's module only when that subcommand is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name."""
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"retour_cli.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, COMMANDS[name][0].rpartition(".")[2])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run; a `RetourError`, or an output that cannot be written, becomes a sentence and an exit status."""
        try:
            with _signals_deferred(), output_complete():
                return super().invoke(ctx)
        except Exception as error:
            status = getattr(error, "exit_status", None)
            if status is None:
                raise
            say(*f"retour: {error}".split("\n"), err=True)
            ctx.exit(status)


def _signals_deferred() -> contextlib.AbstractContextManager[None]:
    """No Ctrl-Z stops this process while it holds the store; imported late, for `retour --help` needs nothing."""
    from retour_policy.store.signals import deferring

    return deferring()


def _print_version(ctx: click.Context, option: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    from retour_cli.version import version_text

    click.echo(f"retour {version_text()}")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@click.option("--config", type=click.Path(), help="The configuration file; may stand after the command, too.")
def main(config: str | None) -> None:
    """Tells the mail server who cannot be reached by mail, and why.

    \b
    Exit status: 0 done, 1 not found or failed, 2 usage,
    75 try again later (the store is down), 78 configuration.
    """
