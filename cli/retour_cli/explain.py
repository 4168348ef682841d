"""`retour explain`: what a returned message is, and why."""

from __future__ import annotations

import json
from pathlib import Path

import click

from retour_bounces import read


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a message.")
def explain(files: tuple[Path, ...], as_json: bool) -> None:
    """What a returned message is, and why."""
    for path in files:
        report = read(path.read_bytes())
        click.echo(json.dumps({"file": str(path)} | report.to_dict()))
