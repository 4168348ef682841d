"""Simulate: who would be suppressed, by the same facts, under another configuration."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json, print_table, say
from retour_policy.config import load
from retour_policy.maintenance.simulate import Change, changes


@click.command()
@options
@click.option("--with", "other", type=click.Path(path_type=Path), help="The configuration to try. [default: --config]")
@click.option("--limit", type=click.IntRange(0), default=40, show_default=True, help="How many addresses to list.")
@json_option
def simulate(context: Context, other: Path | None, limit: int, as_json: bool) -> None:
    """Compute all states under another policy, and show what would differ.

    Who would be paused, suppressed or freed now, and how many in each
    stream. Nothing is changed; storms are taken as they were recorded.
    The store is that of --config.
    """
    totals: Counter[tuple[str, str]] = Counter()
    rows: list[tuple[str, str, str, str]] = []
    config = load.load(other) if other else context.config  # before the store: only root may be able to read it
    for change in changes(context.store, config, context.clock()):
        totals[change.stream, change.what] += 1
        if as_json:
            print_json(_as_dict(change))
        elif len(rows) < limit:
            rows.append(_row(change))
    if as_json:
        for (stream, what), number in sorted(totals.items()):
            print_json({"stream": stream, "would_be": what, "total": number})
        return
    if rows:
        print_table(("address", "stream", "would be", "because"), rows)
    if sum(totals.values()) > len(rows):
        click.echo(f"and {sum(totals.values()) - len(rows)} more")
    for (stream, what), number in sorted(totals.items()):
        say(f"{stream}: {number} {what}")
    if not totals:
        click.echo("nothing would differ")


def _row(change: Change) -> tuple[str, str, str, str]:
    because = change.after or change.before
    return change.address or "(erased)", change.stream, change.what, because.words() if because else ""


def _as_dict(change: Change) -> dict[str, Any]:
    return {
        "address": change.address,
        "stream": change.stream,
        "would_be": change.what,
        "before": change.before.words() if change.before else None,
        "after": change.after.words() if change.after else None,
    }
