"""Address: what the store has about one address, and what would happen next."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import click
from sqlalchemy import Connection

from retour_cli.context import Context, options
from retour_cli.outlook import Outlook, freed_words, held_words
from retour_cli.output import json_option, print_json, printable, say, wrapped
from retour_cli.render.fact import as_dict, led_to, words
from retour_policy.clock import iso_text, time_text
from retour_policy.core.decide import EVERYWHERE, Count
from retour_policy.core.scope import scope_text
from retour_policy.core.suppression import Suppression
from retour_policy.ledger.accounts import refolded
from retour_policy.maintenance import suppression_files
from retour_policy.store import addresses, facts, sends, storms, suppressions
from retour_policy.store.addresses import Address
from retour_policy.store.facts import Fact, FactFilter
from retour_policy.tokens.token import id_time

MAX_SHOWN_FACTS = 50  # on a terminal


@click.group()
def address() -> None:
    """Everything about one address."""


@address.command()
@click.argument("address")
@options
@json_option
def show(context: Context, address: str, as_json: bool) -> None:
    """Show one address: sends, facts, counts, suppressions, and why.

    Each event with what it led to, and what would happen at the next
    bounce. Exit status 1 if the store does not know the address.
    """
    key = context.key(address)
    with context.store.reading() as connection:
        number = addresses.find_number(connection, key)
        if number is None:
            say(f"{address}: unknown: nothing was sent to it, and nothing came back", err=True)
            raise SystemExit(1)
        story = Story(connection, context, Address(number, key))
    if as_json:
        print_json({"address": address} | story.to_dict())
    else:
        story.print(address)


class Story:
    """What the store has about one address, computed from its facts."""

    def __init__(self, connection: Connection, context: Context, address: Address) -> None:
        self.sends, self.last_send = sends.count_to(connection, address.id)
        self.now = context.clock()
        self.account, steps = refolded(connection, address)
        self.facts = facts.read(connection, FactFilter(address_id=address.id))
        self.why = led_to(steps)
        self.sent = sends.read_times_and_streams(connection, address.id)
        self.suppressed = [one for _, one in suppressions.read_in_force(connection, self.now, key=address.key)]
        text = addresses.find_text(connection, address.id)
        outlook = Outlook(connection, context, address, text, self.account, self.suppressed, self.now)
        self.run_out, self.next = outlook.run_out, outlook.by_stream()
        self.limits = context.config.storm
        held = Counter(storm for _, storm in self.account.state.held)
        self.held = [(number, storms.find(connection, number), count) for number, count in sorted(held.items())]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "sends": self.sends,
            "last_send": iso_text(id_time(self.last_send)) if self.last_send else None,
            "counts": {scope: _numbers(count) for scope, count in self.account.state.counts.items()},
            "held": len(self.account.state.held),
            "held_by": {str(number): count for number, _, count in self.held},
            "suppressions": [_as_dict(one) for one in self.suppressed],
            "run_out": [_as_dict(one) for one in self.run_out],
            "next": self.next,
            "events": [as_dict(fact) | {"led_to": self.why.get(fact.id, "")} for fact in self.facts],
        }

    def print(self, address: str) -> None:
        """For a person, at 80 columns."""
        last = f", the last {time_text(id_time(self.last_send))} UTC" if self.last_send else ""
        say(address, f"  sends         {self.sends}{last}")
        for scope, count in self.account.state.counts.items():
            where = "" if scope == EVERYWHERE else f" (in {scope_text(scope)})"
            say(*wrapped("  counts        ", _counts(count) + where))
        for number, storm, failures in self.held:
            say(*wrapped("  held          ", held_words(storm, number, failures)))
        if self.held:
            say(*wrapped(" " * 16, freed_words(self.limits)))
        for one in self.suppressed:
            say(*wrapped("  suppressed    ", f"{_where(one)}: {one.words()}" + ("" if one.until else ", for good")))
        for one in self.run_out:
            say(*wrapped("  run out       ", f"{_where(one)}: {one.words()}; the next message tries"))
        if not (self.suppressed or self.run_out):
            say("  suppressed    no")
        for text, names in _grouped(self.next).items():
            say(*wrapped("  next bounce   ", f"{', '.join(names)}: {text}" if any(names) else text))
        say("", "What happened (UTC):")
        lines = [*self._lines()]
        if len(lines) > MAX_SHOWN_FACTS:
            say(f"  the latest {MAX_SHOWN_FACTS} of {len(lines)}; --json shows all")
        for line in lines[-MAX_SHOWN_FACTS:] or [["  nothing"]]:
            say(*line)

    def _lines(self) -> Iterator[list[str]]:
        """Facts, and what was sent between them, in order."""
        sent = deque(self.sent)
        for fact in self.facts:
            yield from _sent_until(sent, fact.what.at)
            yield _lines(fact, self.why.get(fact.id, ""))
        yield from _sent_until(sent, None)


def _sent_until(sent: deque[tuple[int, str]], until: int | None) -> Iterator[list[str]]:
    """A line for each stream with sends up to then; these are removed from `sent`."""
    found: dict[str, list[int]] = {}
    while sent and (until is None or sent[0][0] <= until):
        at, stream = sent.popleft()
        found.setdefault(stream, []).append(at)
    for stream, times in sorted(found.items(), key=lambda one: one[1]):
        more = f" {len(times)} times, the last {time_text(times[-1])[:16]}" if len(times) > 1 else ""
        yield wrapped(f"  {time_text(times[0])[:16]} {stream}  ", f"sent{more}")


def _lines(fact: Fact, why: str) -> list[str]:
    stream = f" {fact.what.stream}" if fact.what.stream else ""
    head = f"  {time_text(fact.what.at)[:16]}{stream}  "
    return [*wrapped(head, words(fact)), *(wrapped(" " * 20 + "-> ", printable(why)) if why else [])]


def _numbers(count: Count) -> dict[str, int]:
    waiting = {"unconfirmed": int(count.unconfirmed is not None), "conflicts": len(count.conflicts)}
    return dict(count.totals) | {name: number for name, number in waiting.items() if number}


def _counts(count: Count) -> str:
    parts = [f"{name} {number}" for name, number in sorted(count.totals.items())]
    if count.unconfirmed:
        parts.append("one failure that counts when another send fails too")
    if count.conflicts:
        parts.append(f"failures on {len(count.conflicts)} days that name somebody else")
    return ", ".join(parts) or "none"


def _as_dict(one: Suppression) -> dict[str, str | None]:
    return suppression_files.to_dict(None, one) | {"address": None}


def _where(one: Suppression) -> str:
    return {EVERYWHERE: "everywhere", "*bulk": "in bulk mail"}.get(one.scope, f"in {scope_text(one.scope)}")


def _grouped(found: dict[str, str]) -> dict[str, list[str]]:
    by_text: dict[str, list[str]] = {}
    for name, text in found.items():
        by_text.setdefault(text, []).append(name)
    return by_text
