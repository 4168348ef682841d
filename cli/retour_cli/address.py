"""Address: the story of one address."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy import Connection, func, select

from retour_cli.events import show_table
from retour_cli.output import json_option, print_json
from retour_cli.setup import Setup, options
from retour_policy import addresses, facts, schema, suppressions
from retour_policy.clock import iso_text
from retour_policy.config import PolicySection
from retour_policy.decide import CLASSES, State
from retour_policy.facts import Wanted
from retour_policy.token import id_time


@click.group()
def address() -> None:
    """Everything about one address."""


@address.command()
@click.argument("address")
@options
@json_option
def show(setup: Setup, address: str, as_json: bool) -> None:
    """One address: sends, events, counts, suppressions, and why.

    Exit status 1 where the store does not know it.
    """
    key = setup.key(address)
    with setup.store.reading() as connection:
        number = addresses.find(connection, [key]).get(key)
        if number is None:
            click.echo(f"{address}: not known: nothing was sent to it, nothing came back", err=True)
            raise SystemExit(1)
        story = _story(connection, setup, number, key)
        if as_json:
            print_json({"address": address} | story)
            return
        _print(address, story, setup.config.policy)
        click.echo("\nWhat happened:")
        if not show_table(list(facts.read(connection, Wanted(address_id=number, limit=20)))):
            click.echo("  nothing")


def _story(connection: Connection, setup: Setup, number: int, key: bytes) -> dict[str, Any]:
    sent = schema.send_recipient.c
    count, last = connection.execute(
        select(func.count(), func.max(sent.send_id)).where(sent.address_id == number)
    ).one()
    table = schema.address_state.c
    states = connection.execute(
        select(table.scope, table.state).where(table.address_id == number).order_by(table.scope)
    )
    return {
        "sends": count,
        "last_send": iso_text(id_time(last)) if last else None,
        "counts": {scope: _counts(State.from_dict(state)) for scope, state in states},
        "suppressions": [
            {"scope": s.scope, "cause": s.cause, "note": s.note, "since": iso_text(s.since), "until": _iso(s.until)}
            for s in suppressions.listed(connection, setup.clock(), key=key)
        ],
        "events": [fact.to_dict() for fact in facts.read(connection, Wanted(address_id=number, limit=100))],
    }


def _counts(state: State) -> dict[str, int]:
    return {name: getattr(state, name) for name in CLASSES} | ({"unconfirmed": 1} if state.unconfirmed else {})


def _iso(at: int | None) -> str | None:
    return iso_text(at) if at is not None else None


def _print(address: str, story: dict[str, Any], policy: PolicySection) -> None:
    click.echo(address)
    last = f", the last {story['last_send'][:19].replace('T', ' ')} UTC" if story["last_send"] else ""
    click.echo(f"  sends         {story['sends']}{last}")
    for scope, counts in story["counts"].items():
        parts = [f"{name} {counts[name]} of {getattr(policy, name) or 'any'}" for name in CLASSES]
        where = "" if scope == suppressions.EVERYWHERE else f" in {scope}"
        click.echo(f"  counts{where}        {', '.join(parts)}")
        if counts.get("unconfirmed"):
            click.echo("                and one failure that counts when another send fails too")
    for found in story["suppressions"]:
        where = "everywhere" if found["scope"] == suppressions.EVERYWHERE else f"in {found['scope']}"
        until = f"until {found['until'][:10]}" if found["until"] else "for good"
        why = suppressions.CAUSES.get(found["cause"], found["cause"]) + (f" ({found['note']})" if found["note"] else "")
        click.echo(f"  suppressed    {where}: {why}, since {found['since'][:10]}, {until}")
    if not story["suppressions"]:
        click.echo("  suppressed    no")
