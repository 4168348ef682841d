"""Events: what happened, in order, as a table or as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json, print_table
from retour_policy.clock import DAY, HOUR, MINUTE, iso_text, time_text
from retour_policy.store import addresses, facts
from retour_policy.store.facts import Fact, FactFilter

_AGO = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": MINUTE, "h": HOUR, "d": DAY}


@click.command()
@options
@click.option("--address", help="Only this address.")
@click.option("--stream", help="Only this stream.")
@click.option(
    "--kind", type=click.Choice(facts.KINDS), metavar="KIND", help=f"Only this kind: {', '.join(facts.KINDS)}."
)
@click.option("--since", help="Only from then on: 2h, 3d, or 2026-01-31, or 2026-01-31T12:00.")
@click.option(
    "--limit", type=click.IntRange(1), default=None, help="Only so many, the latest. [default: 50; JSON: all]"
)
@json_option
def events(
    context: Context,
    address: str | None,
    stream: str | None,
    kind: str | None,
    since: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """What happened, in order, the latest last.

    Exit status 1 where there is nothing.
    """
    limit = limit or (None if as_json else 50)
    from_then = parse_since(since, context.clock()) if since else None
    with context.store.reading() as connection:
        number = None
        if address:
            number = addresses.find_number(connection, context.key(address)) or -1
        wanted = FactFilter(number, context.stream(stream).name if stream else None, kind, from_then, limit)
        found = facts.read(connection, wanted) if limit else []
    shown = show_json(found if limit else facts.iterate(context.store, wanted)) if as_json else show_table(found)
    if not shown:
        click.echo("nothing happened", err=True)
        raise SystemExit(1)


def show_json(found: Iterable[Fact]) -> int:
    """Print facts as JSON, one a line; how many."""
    count = 0
    for fact in found:
        print_json(as_dict(fact))
        count += 1
    return count


def as_dict(fact: Fact) -> dict[str, Any]:
    """A fact as plain values, its time as text."""
    return fact.to_dict() | {"at": iso_text(fact.what.at)}


def show_table(found: list[Fact]) -> int:
    """Print facts as a table; how many."""
    if found:
        rows = [(time_text(f.what.at)[5:16], f.what.stream or "-", f.address or "-", words(f)) for f in found]
        print_table(("at (UTC)", "stream", "address", "what"), rows)
    return len(found)


def words(fact: Fact) -> str:
    """A fact in a few words, such as "bounce hard 5.1.1 userunknown"."""
    what = fact.what
    parts = [what.kind, what.type, what.status, what.reason, what.detail.get("cause")]
    if what.detail.get("resend"):
        which = f"resend {what.detail['resend']} of {what.detail.get('of')}"
        parts = [which] if what.kind == "resent" else [*parts, f"({which})"]
    if what.proof == "unsigned":
        parts.append("(unsigned)")
    if what.detail.get("lost_send"):
        parts.append("(record gone)")
    return " ".join(part for part in parts if part)


def parse_since(text: str, now: int) -> int:
    """The time that `text` means, in milliseconds since 1970. Raises `click.BadParameter`."""
    found = _AGO.fullmatch(text)
    if found:
        return now - int(found[1]) * _UNITS[found[2]]
    try:
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no time; right would be 2h, 3d or 2026-01-31T12:00") from None
