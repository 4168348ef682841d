"""Stats: how much waits in the outbox and since when, and what came back of each stream lately."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json, print_table, say, wrapped
from retour_policy.clock import DAY, HOUR, MINUTE, SECOND
from retour_policy.core.storm import Figures, bucket
from retour_policy.outbox.queue import GIVE_UP_AFTER_MS
from retour_policy.store import outbox_backlog, storms, unsubscribe_counters
from retour_policy.store.outbox_backlog import ChannelFigures


@click.command()
@options
@json_option
def stats(context: Context, as_json: bool) -> None:
    """Show what waits in the outbox, and what came back of each stream.

    By channel how many wait, and since when. By stream what was sent and
    came back in the window of [storm] (6 hours): failures that blame the
    recipient or the network, and those that blame the sender, which are
    counted against nobody.
    """
    now, window = context.clock(), context.config.storm.window
    with context.store.reading() as connection:
        channels = outbox_backlog.read_figures(connection, now, GIVE_UP_AFTER_MS)
        streams = storms.read_stream_figures(connection, bucket(now - window))
        bursts = unsubscribe_counters.read_told(connection, bucket(now - window))
    if as_json:
        told = [{"stream": name} | _figures(one) for name, one in streams.items()]
        outbox = [_as_dict(one, now) for one in channels]
        figures = {"outbox": outbox, "window_seconds": window // SECOND, "streams": told}
        print_json(figures | {"unsubscribe_bursts": [asdict(one) for one in bursts]})
        return
    if channels:
        rows = [_as_row(one, now) for one in channels]
        print_table(("outbox", "waiting", "oldest", "failing", "dead letters"), rows)
    else:
        click.echo("the outbox is empty")
    if streams:
        click.echo()
        numbers = [(name, *map(str, _figures(one).values())) for name, one in streams.items()]
        print_table((f"stream, {_span(window)}", "sent", "failed", "blames the sender"), numbers)
    for burst in bursts:
        click.echo()
        say(
            *wrapped(
                "",
                f"{burst.unsubscribed} unsubscribed from {burst.stream} at {burst.side} within minutes of the "
                "send: a gateway there may submit forms",
            )
        )


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


def _figures(one: Figures) -> dict[str, int]:
    return {"sent": one.sent, "failed": one.failures, "blames_sender": one.refused}


def _age(at: int | None, now: int) -> str:
    if at is None:
        return "-"
    return _span(max(0, now - at))


def _span(length: int) -> str:
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if length >= 2 * unit:
            return f"{length // unit}{letter}"
    return f"{length // SECOND}s"
