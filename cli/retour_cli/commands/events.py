"""Events: the history of facts, in order, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Iterable

import click

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json, print_table
from retour_cli.render.fact import as_dict, words
from retour_cli.times import Times, zone_option
from retour_policy.errors import EX_FAILED
from retour_policy.store import addresses, facts
from retour_policy.store.facts import Fact, FactFilter


@click.command()
@options
@click.option("--address", help="Only this address.")
@click.option("--stream", help="Only this stream.")
@click.option(
    "--kind", type=click.Choice(facts.KINDS), metavar="KIND", help=f"Only this kind: {', '.join(facts.KINDS)}."
)
@click.option("--since", help="Only from this time on: 2h, 3d, 2026-01-31 or 2026-01-31T12:00.")
@zone_option
@click.option(
    "--limit", type=click.IntRange(1), default=None, help="At most so many, the latest. [default: 50; JSON: all]"
)
@json_option
def events(
    context: Context,
    address: str | None,
    stream: str | None,
    kind: str | None,
    since: str | None,
    zone: str,
    limit: int | None,
    as_json: bool,
) -> None:
    """List the history of facts: what came back and what was decided, the latest last.

    These are not the hook events that applications are told; docs/events.md
    describes those. Exit status 1 if no facts are found.
    """
    limit = limit or (None if as_json else 50)
    times = Times.of(zone, context.clock)
    since_at = times.parse(since) if since else None
    with context.store.reading() as connection:
        number = None
        if address:
            number = addresses.find_number(connection, context.key(address)) or -1
        wanted = FactFilter(number, context.stream(stream).name if stream else None, kind, since_at, limit)
        found = facts.read(connection, wanted) if limit else []
    shown = show_json(found if limit else facts.iterate(context.store, wanted)) if as_json else show_table(found, times)
    if not shown:
        click.echo("no facts found", err=True)
        raise SystemExit(EX_FAILED)


def show_json(found: Iterable[Fact]) -> int:
    """Print facts as JSON, one a line; how many."""
    count = 0
    for fact in found:
        print_json(as_dict(fact))
        count += 1
    return count


def show_table(found: list[Fact], times: Times) -> int:
    """Print facts as a table; how many."""
    if found:
        rows = [(times.short(f.what.at), f.what.stream or "-", f.address or "-", words(f)) for f in found]
        print_table((f"at ({times.zone})", "stream", "address", "what"), rows)
    return len(found)
