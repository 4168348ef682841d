"""Simulate: who would be suppressed, by the same facts, under another configuration."""

from __future__ import annotations

from pathlib import Path

import click

from retour_cli.context import Context, options
from retour_cli.output import json_option
from retour_cli.render.changes import ChangeList, progress
from retour_policy.config import load
from retour_policy.ledger.policy_versions import Policy
from retour_policy.maintenance.simulate import rejudge


@click.command()
@options
@click.option("--with", "other", type=click.Path(path_type=Path), help="The configuration to try. [default: --config]")
@click.option("--limit", type=click.IntRange(0), default=40, show_default=True, help="How many addresses to list.")
@json_option
def simulate(context: Context, other: Path | None, limit: int, as_json: bool) -> None:
    """Compute all states under another policy, and show what would differ.

    Who would be paused, suppressed or freed now, for whom it would last
    longer or be over sooner, and how many in each stream. Nothing is
    changed; storms are taken as they were recorded. The store is that of
    --config. `retour rebuild --under current` brings about what the policy
    in force would have decided.
    """
    config = load.load(other) if other else context.config  # before the store: only root may be able to read it
    shown = ChangeList(config, context.clock(), limit, as_json=as_json)
    with progress(context.store, "simulating", as_json=as_json) as reached:
        for chunk in rejudge(context.store, Policy.of(config), reached=reached):
            shown.add(chunk)
    shown.end("nothing would differ")
