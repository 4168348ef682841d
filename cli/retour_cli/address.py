"""Address: the story of one address."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy import Connection, func, select

from retour_cli.events import as_dict, show_table
from retour_cli.output import json_option, print_json, say, wrapped
from retour_cli.setup import Setup, options
from retour_policy import addresses, facts, schema, suppressions
from retour_policy.clock import iso_text
from retour_policy.config import PolicySection
from retour_policy.decide import CLASSES, Class, State
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
            say(f"{address}: not known: nothing was sent to it, nothing came back", err=True)
            raise SystemExit(1)
        story = _story(connection, setup, number, key)
        happened = facts.read(connection, Wanted(address_id=number, limit=100 if as_json else 20))
    if as_json:
        print_json({"address": address} | story | {"events": [as_dict(fact) for fact in happened]})
        return
    _print(address, story, setup.config.policy)
    say("", "What happened:")
    if not show_table(happened):
        say("  nothing")


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
    }


def _counts(state: State) -> dict[str, int]:
    return {name: getattr(state, name) for name in CLASSES} | ({"unconfirmed": 1} if state.unconfirmed else {})


def _iso(at: int | None) -> str | None:
    return iso_text(at) if at is not None else None


def _print(address: str, story: dict[str, Any], policy: PolicySection) -> None:
    say(address)
    last = f", the last {story['last_send'][:19].replace('T', ' ')} UTC" if story["last_send"] else ""
    say(f"  sends         {story['sends']}{last}")
    for scope, counts in story["counts"].items():
        where = "" if scope == suppressions.EVERYWHERE else f" (in {scope})"
        say(*wrapped("  counts        ", ", ".join(_count(name, counts[name], policy) for name in CLASSES) + where))
        if counts.get("unconfirmed"):
            say("                and one failure that counts when another send fails too")
    for found in story["suppressions"]:
        where = "everywhere" if found["scope"] == suppressions.EVERYWHERE else f"in {found['scope']}"
        until = f"until {found['until'][:10]}" if found["until"] else "for good"
        why = suppressions.CAUSES.get(found["cause"], found["cause"]) + (f" ({found['note']})" if found["note"] else "")
        say(*wrapped("  suppressed    ", f"{where}: {why}, since {found['since'][:10]}, {until}"))
    if not story["suppressions"]:
        say("  suppressed    no")


def _count(name: Class, count: int, policy: PolicySection) -> str:
    threshold = getattr(policy, name)
    return f"{name} {count} of {threshold}" if threshold else f"{name} {count} (only recorded)"
