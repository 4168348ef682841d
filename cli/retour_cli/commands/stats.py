"""Stats: how much waits in the outbox, and since when."""

from __future__ import annotations

from typing import Any

import click

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json, print_table
from retour_policy.clock import DAY, HOUR, MINUTE, SECOND
from retour_policy.outbox.queue import GIVE_UP_AFTER_MS
from retour_policy.store import outbox_backlog
from retour_policy.store.outbox_backlog import ChannelFigures


@click.command()
@options
@json_option
def stats(context: Context, as_json: bool) -> None:
    """Show what waits in the outbox, by channel: how many, and since when."""
    now = context.clock()
    with context.store.reading() as connection:
        channels = outbox_backlog.read_figures(connection, now, GIVE_UP_AFTER_MS)
    if as_json:
        print_json({"outbox": [_as_dict(one, now) for one in channels]})
    elif channels:
        rows = [_as_row(one, now) for one in channels]
        print_table(("outbox", "waiting", "oldest", "failing", "dead letters"), rows)
    else:
        click.echo("the outbox is empty")


def _as_row(one: ChannelFigures, now: int) -> tuple[str, str, str, str, str]:
    return one.channel, str(one.waiting), _age(one.oldest, now), str(one.failing), str(one.dead)


def _as_dict(one: ChannelFigures, now: int) -> dict[str, Any]:
    age = None if one.oldest is None else (now - one.oldest) // SECOND
    return {
        "channel": one.channel,
        "waiting": one.waiting,
        "oldest_seconds": age,
        "failing": one.failing,
        "dead": one.dead,
    }


def _age(at: int | None, now: int) -> str:
    if at is None:
        return "-"
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if now - at >= 2 * unit:
            return f"{(now - at) // unit}{letter}"
    return f"{max(0, now - at) // SECOND}s"
