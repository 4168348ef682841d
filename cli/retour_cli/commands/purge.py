"""Purge: deletes what is old."""

from __future__ import annotations

import re

import click

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json
from retour_policy.clock import DAY, day_text
from retour_policy.errors import InputError

_DAYS = re.compile("[0-9]{1,6}d")


@click.command()
@options
@click.option("--keep", default="400d", show_default=True, help="How much to keep, in days.")
@json_option
def purge(context: Context, keep: str, as_json: bool) -> None:
    """Delete facts and sends that are older than --keep.

    For each address one fact first holds the state that the older ones
    led to, so no decision changes. Can be stopped and run again.
    """
    from retour_policy.maintenance.purge import MIN_KEEP_MS
    from retour_policy.maintenance.purge import purge as purge_store

    days = int(keep[:-1]) if _DAYS.fullmatch(keep) else 0
    if days * DAY < MIN_KEEP_MS:
        raise InputError(f"--keep {keep}: use a number of days, at least {MIN_KEEP_MS // DAY}d")
    before = max(0, context.clock() - days * DAY)
    deleted = sum(purge_store(context.store, before))
    if as_json:
        print_json({"before": day_text(before), "rows": deleted})
        return
    click.echo(f"{deleted} rows from before {day_text(before)} deleted")
