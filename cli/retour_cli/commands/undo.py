"""Undo: takes back what the failures of an outage caused, if it was noticed late."""

from __future__ import annotations

import click

from retour_cli.context import Context, options
from retour_cli.output import counted, json_option, print_json
from retour_cli.times import Times, zone_option
from retour_policy.address import domain_ascii
from retour_policy.errors import InputError


@click.command()
@options
@click.option("--since", required=True, help="Failures from this time on: 2026-01-31T12:00, or 6h.")
@click.option("--until", "until_", required=True, help="Failures before this time: now, 1h, or 2026-01-31T18:00.")
@zone_option
@click.option("--domain", "domains", multiple=True, help="Only recipients in this domain; repeatable. [default: all]")
@click.option("--note", default="", help="Why; kept with the facts.")
@click.option("--dry-run", is_flag=True, help="Show how many, and change nothing.")
@json_option
def undo(
    context: Context,
    since: str,
    until_: str,
    zone: str,
    domains: tuple[str, ...],
    note: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Stop counting the failures of a period, as if they had not happened.

    The pauses and suppressions that they caused are taken back. The facts
    stay, with a note; `retour address show` shows them.
    """
    from retour_policy.maintenance.undo import Window, failures
    from retour_policy.maintenance.undo import undo as take_back

    times = Times.of(zone, context.clock)
    window = Window(times.parse(since), times.parse(until_), frozenset(map(domain_ascii, domains)))
    if window.until <= window.since:
        raise InputError(f"--until {until_} is not after --since {since}")
    found = failures(context.store, window)
    people = len({one.address for one in found})
    what = f"{counted(len(found), 'failure')} of {counted(people, 'address')}"
    if as_json:
        print_json({"failures": len(found), "addresses": people, "undone": not dry_run})
    if dry_run or not found:
        if not as_json:
            click.echo(f"{what} in that time")
        return
    with click.progressbar(length=people, label="undoing", show_eta=False, hidden=as_json) as bar:
        done = 0
        for reached in take_back(context.store, context.ledger, found, times.now, note[:200]):
            bar.update(reached - done)
            done = reached
    if not as_json:
        click.echo(f"taken back: {what}")
