"""Outbox: items that wait for hooks and relays, or were given up; listed, tried again, dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import click
from sqlalchemy import Connection

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json, print_table, say
from retour_cli.times import Times, zone_option
from retour_policy.clock import iso_text
from retour_policy.outbox import manage
from retour_policy.store import outbox_selection
from retour_policy.store.outbox import Item
from retour_policy.store.outbox_selection import ItemFilter

MAX_LISTED_ITEMS = 100  # in a list for a person


class Change(Protocol):
    """Changes some items in one transaction; how many that were."""

    def __call__(self, connection: Connection, ids: Sequence[int]) -> int: ...


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that select items."""
    for option in reversed(
        (
            click.option("--channel", help="Only of this hook or relay: hook:NAME, relay:NAME or forward."),
            click.option("--kind", type=click.Choice(["event", "forward", "resend"]), help="Only of this kind."),
            click.option("--failed/--waiting", default=None, help="Only dead letters, or only what still waits."),
            click.option("--before", help="Only what was queued before: 2h, 3d, or 2026-01-31T12:00."),
            zone_option,
        )
    ):
        command = option(command)
    return command


@click.group()
def outbox() -> None:
    """What waits for hooks and relays: events, forwards, resends."""


@outbox.command("list")
@options
@filters
@click.option("--show", is_flag=True, help="Also print each event.")
@click.option("--limit", type=click.IntRange(1), help=f"At most so many; {MAX_LISTED_ITEMS} without --json.")
@json_option
def list_(context: Context, show: bool, limit: int | None, as_json: bool, **chosen: Any) -> None:
    """List what waits and what was given up, the oldest first."""
    with context.store.reading() as connection:
        all_ids = outbox_selection.read_ids(connection, _filter(context, (), chosen))
    ids = all_ids[: limit or (None if as_json else MAX_LISTED_ITEMS)]
    if as_json:
        for item in manage.iterate(context.store, ids, bodies=show):
            print_json(_as_dict(item, show=show))
        return
    if not ids:
        click.echo("nothing waits")
        return
    times = _times(context, chosen)
    rows = [_as_row(item, times) for item in manage.iterate(context.store, ids, bodies=False)]
    print_table(("id", f"since ({times.zone})", "channel", "what", "state"), rows)
    for item in manage.iterate(context.store, ids, bodies=True) if show else ():
        say(f"{item.id}: {item.body.decode('utf-8', 'replace')}")
    if len(all_ids) > len(ids):
        click.echo(f"and {len(all_ids) - len(ids)} more (--limit)")


@outbox.command()
@click.argument("ids", nargs=-1, type=click.IntRange(1))
@options
@filters
@click.option("--all", "everything", is_flag=True, help="All that the options select.")
@json_option
def retry(context: Context, ids: tuple[int, ...], everything: bool, as_json: bool, **chosen: Any) -> None:
    """Try IDS again at once, and for three days from now on.

    Exit status 1 if there are none. A dead letter is tried out of its order.
    """
    wanted = _explicit_filter(context, ids, everything, chosen)
    _change(
        context,
        wanted,
        lambda connection, ids: manage.retry(connection, ids, context.clock()),
        "retried",
        as_json=as_json,
    )


@outbox.command()
@click.argument("ids", nargs=-1, type=click.IntRange(1))
@options
@filters
@click.option("--all", "everything", is_flag=True, help="All that the options select.")
@json_option
def drop(context: Context, ids: tuple[int, ...], everything: bool, as_json: bool, **chosen: Any) -> None:
    """Delete IDS: they will never be carried out.

    Exit status 1 if there are none.
    """
    _change(
        context, _explicit_filter(context, ids, everything, chosen), outbox_selection.drop, "dropped", as_json=as_json
    )


def _filter(context: Context, ids: tuple[int, ...], chosen: dict[str, Any]) -> ItemFilter:
    before = _times(context, chosen).parse(chosen["before"]) if chosen["before"] else None
    return ItemFilter(ids, chosen["channel"], chosen["kind"], chosen["failed"], before)


def _times(context: Context, chosen: dict[str, Any]) -> Times:
    return Times.of(chosen["zone"], context.clock)


def _explicit_filter(context: Context, ids: tuple[int, ...], everything: bool, chosen: dict[str, Any]) -> ItemFilter:
    """The items to change: by number, or all of a selection; never all by mistake."""
    if bool(ids) == everything:
        raise click.UsageError("give the ids of items, or --all with options that say which")
    return _filter(context, ids, chosen)


def _change(context: Context, wanted: ItemFilter, change: Change, word: str, *, as_json: bool) -> None:
    """Change a few hundred items and a few megabytes at a time, so that nobody waits for the store."""
    with context.store.reading() as connection:
        ids = outbox_selection.read_ids(connection, wanted)
    done = sum(context.write(partial(change, ids=batch)) for batch in manage.iterate_batches(context.store, ids))
    if as_json:
        print_json({word: done})
    else:
        click.echo(f"{done} {word}")
    if not done:
        raise SystemExit(1)


def _as_row(item: Item, times: Times) -> tuple[str, str, str, str, str]:
    if item.failed:
        state = f"dead after {item.attempts}: {item.error}" if item.attempts else f"dead: {item.error}"
    elif item.taken_by and item.due > times.now:
        state = "in hand"
    elif item.attempts:
        state = f"try {item.attempts + 1} at {times.short(item.due)}: {item.error}"
    else:
        state = f"due {times.short(item.due)}"
    return str(item.id), times.short(item.at), item.channel, item.target, state


def _as_dict(item: Item, *, show: bool) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": item.id,
        "uid": item.uid,
        "at": iso_text(item.at),
        "kind": item.kind,
        "channel": item.channel,
        "target": item.target,
        "due": iso_text(item.due),
        "attempts": item.attempts,
        "failed": bool(item.failed),
        "error": item.error or None,
        "taken_by": item.taken_by,
    }
    return values | ({"body": item.body.decode("utf-8", "replace")} if show else {})
