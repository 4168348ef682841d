"""Storm: lists storms, and decides by hand about the failures that they hold."""

from __future__ import annotations

import click

from retour_cli.context import Context, options
from retour_cli.output import counted, json_option, print_json, print_table
from retour_policy.clock import iso_text, time_text
from retour_policy.core.storm import ALL_SIDES
from retour_policy.errors import InputError
from retour_policy.ledger.storms import settle
from retour_policy.store import storms


@click.group()
def storm() -> None:
    """Bursts of bounces that say more about a receiver than about its users."""


@storm.command("list")
@options
@json_option
def list_(context: Context, as_json: bool) -> None:
    """All storms, the oldest first."""
    with context.store.reading() as connection:
        found = storms.read(connection)
    if as_json:
        for one in found:
            closed = iso_text(one.closed) if one.closed else None
            print_json(
                {
                    "id": one.id,
                    "stream": one.stream,
                    "side": one.side,
                    "opened": iso_text(one.opened),
                    "closed": closed,
                    "sent": one.sent,
                    "failed": one.failed,
                }
            )
        return
    rows = [
        (
            str(one.id),
            one.stream,
            "all sides" if one.side == ALL_SIDES else one.side,
            time_text(one.opened)[:16],
            time_text(one.closed)[:16] if one.closed else "open",
            f"{one.failed} of {one.sent}",
        )
        for one in found
    ]
    if rows:
        print_table(("id", "stream", "side", "opened (UTC)", "closed", "failed"), rows)
    else:
        click.echo("there was no storm")


@storm.command()
@click.argument("number", type=int)
@options
@json_option
def apply(context: Context, number: int, as_json: bool) -> None:
    """Count the failures that storm NUMBER holds."""
    _decide(context, number, count=True, as_json=as_json)


@storm.command()
@click.argument("number", type=int)
@options
@json_option
def discard(context: Context, number: int, as_json: bool) -> None:
    """Drop the failures that storm NUMBER holds: they never count."""
    _decide(context, number, count=False, as_json=as_json)


def _decide(context: Context, number: int, *, count: bool, as_json: bool) -> None:
    with context.store.reading() as connection:
        found = storms.find(connection, number)
    if found is None:
        raise InputError(f"there is no storm {number}; see `retour storm list`")
    changed = sum(settle(context.store, context.ledger, found, context.clock(), count=count))
    if as_json:
        print_json({"storm": number, "addresses": changed, "count": count})
    else:
        what = "count now" if count else "are discarded"
        click.echo(f"storm {number}: failures of {counted(changed, 'address')} {what}")
