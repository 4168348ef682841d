"""Suppressions: the addresses that are not written to, listed, added and removed."""

from __future__ import annotations

import re

import click
from sqlalchemy import Connection, delete

from retour_cli.events import parse_since
from retour_cli.output import json_option, print_json, print_table, say
from retour_cli.setup import Setup, options
from retour_policy import addresses, facts, schema
from retour_policy import suppressions as table
from retour_policy.clean import clean
from retour_policy.clock import DAY, day_text, iso_text
from retour_policy.errors import InputError
from retour_policy.facts import NewFact
from retour_policy.suppressions import CAUSES, EVERYWHERE, Suppression

_DAYS = re.compile(r"(\d{1,5})d")
scope_option = click.option("--scope", help="A stream's name. [default: everywhere]")


@click.group()
def suppressions() -> None:
    """Addresses that are not written to."""


@suppressions.command("list")
@options
@json_option
def list_(setup: Setup, as_json: bool) -> None:
    """All that are in force, the oldest first."""
    with setup.store.reading() as connection:
        found = table.listed(connection, setup.clock())
    if as_json:
        for one in found:
            print_json(_as_dict(one))
    elif found:
        print_table(("address", "where", "since", "until", "why"), [_as_row(one) for one in found])
    else:
        click.echo("nobody is suppressed")


@suppressions.command()
@click.argument("address")
@options
@scope_option
@click.option("--until", help="30d, or a date. [default: for good]")
@click.option("--note", default="", help="Why; shown in lists and in the 550.")
@json_option
def add(setup: Setup, address: str, scope: str | None, until: str | None, note: str, as_json: bool) -> None:
    """Do not write to ADDRESS any more.

    It takes the place of what suppressed the address there before.
    """
    key, now = setup.key(address), setup.clock()
    where = setup.stream(scope).name if scope else EVERYWHERE
    new = Suppression(where, "operator", now, _until(until, now), " ".join(clean(note, 200).split()), address)

    def work(connection: Connection) -> None:
        number = addresses.ensure(connection, setup.ring.ring.address_secret, [address])[address]
        detail = {"scope": where, "note": new.note, "until": new.until}
        fact = facts.write(connection, NewFact(now, "suppress", number, reason="operator", detail=detail))
        table.remove(connection, key, where)
        table.put(connection, key, number, new, fact)

    setup.write(work)
    if as_json:
        print_json(_as_dict(new))
    else:
        say(f"{address}: {new.words()}")


@suppressions.command()
@click.argument("address")
@options
@scope_option
@json_option
def remove(setup: Setup, address: str, scope: str | None, as_json: bool) -> None:
    """Write to ADDRESS again; its counts begin anew.

    Exit status 1 where it was not suppressed.
    """
    key, now = setup.key(address), setup.clock()
    where = setup.stream(scope).name if scope else None

    def work(connection: Connection) -> list[str]:
        scopes = table.remove(connection, key, where)
        number = addresses.find(connection, [key]).get(key)
        if scopes and number is not None:
            facts.write(connection, NewFact(now, "lift", number, reason="operator", detail={"scopes": scopes}))
            state = schema.address_state
            connection.execute(delete(state).where(state.c.address_id == number, state.c.scope.in_(scopes)))
        return scopes

    scopes = setup.write(work)
    if not scopes:
        say(f"{address}: was not suppressed", err=True)
        raise SystemExit(1)
    if as_json:
        print_json({"address": address, "lifted": scopes})
    else:
        say(f"{address}: not suppressed any more ({', '.join(_where(scope) for scope in scopes)})")


def _until(text: str | None, now: int) -> int | None:
    if text is None:
        return None
    found = _DAYS.fullmatch(text)
    at = now + int(found[1]) * DAY if found else parse_since(text, now)
    if at <= now:
        raise InputError(f"--until {text}: lies in the past; right would be 30d or a date to come")
    return at


def _where(scope: str) -> str:
    return "everywhere" if scope == EVERYWHERE else scope


def _as_row(one: Suppression) -> tuple[str, str, str, str, str]:
    why = CAUSES.get(one.cause, one.cause) + (f" ({one.note})" if one.note else "")
    until = day_text(one.until) if one.until else "for good"
    return one.address or "(forgotten)", _where(one.scope), day_text(one.since), until, why


def _as_dict(one: Suppression) -> dict[str, str | None]:
    return {
        "address": one.address,
        "scope": one.scope,
        "cause": one.cause,
        "since": iso_text(one.since),
        "until": iso_text(one.until) if one.until else None,
        "note": one.note,
    }
