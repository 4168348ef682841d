"""Rebuild: folds all facts again and mends what differs."""

from __future__ import annotations

import click

from retour_cli.output import json_option, print_json, say
from retour_cli.setup import Setup, options


@click.command()
@options
@click.option("--check", "only_check", is_flag=True, help="Say what differs and change nothing.")
@json_option
def rebuild(setup: Setup, only_check: bool, as_json: bool) -> None:
    """Fold the facts of all addresses again, and mend what differs.

    On a healthy store nothing does. Exit status 1 where something did.
    """
    from retour_policy import rebuild as rebuilding

    found = 0
    for one in rebuilding.differences(setup.store):
        found += 1
        if as_json:
            print_json({"address": one.text, "mended": not only_check})
        else:
            say(f"{one.text or '(forgotten)'}: {'differs' if only_check else 'mended'}")
        if not only_check:
            rebuilding.mend(setup.store, one)
    if not as_json:
        click.echo(f"{found} addresses differed from their facts" if found else "no difference")
    if found:
        raise SystemExit(1)
