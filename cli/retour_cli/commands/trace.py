"""Trace: follows a message there and back: who got it, what came back, and what was decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click
from sqlalchemy import Connection

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json, printable, say, wrapped
from retour_cli.render.fact import as_dict, led_to, words
from retour_cli.times import Times, zone_option
from retour_policy.address import is_address
from retour_policy.clock import iso_text
from retour_policy.core.proof import UNSIGNED, VOUCHED
from retour_policy.errors import EX_FAILED
from retour_policy.ledger.accounts import refolded
from retour_policy.store import addresses
from retour_policy.store import trace as traces
from retour_policy.store.facts import Fact
from retour_policy.store.trace import PendingItem, TracedRecipient, TracedSend
from retour_policy.tokens.token import id_time

DEFAULT_LIMIT = 10
_APART = {
    "withheld": "withheld: suppressed",
    "unheard": "whether it arrived is never known",
    "waiting": "not known to have gone out",
}


@click.command()
@click.argument("clue", metavar="QUEUE-ID|MESSAGE-ID|ADDRESS")
@click.option(
    "--limit", type=click.IntRange(1), default=DEFAULT_LIMIT, show_default=True, help="At most so many sends."
)
@options
@zone_option
@json_option
def trace(context: Context, clue: str, limit: int, zone: str, as_json: bool) -> None:
    """Follow a message there and back.

    By Postfix's queue id of the message or of the report, by the Message-ID,
    or by the recipient's address: who got it, what came back, what was
    decided, and what hooks and relays still have to do. The latest message
    comes first. Exit status 1 if none is found.
    """
    with context.store.reading() as connection:
        found = [Trail(connection, number) for number in _find(connection, context, clue, limit)]
    if is_address(clue) and not context.config.log_addresses and not as_json:
        say(f"{clue} is {context.ring.log_name(clue)} in the log.", "")
    times = Times.of(zone, context.clock)
    for trail in found:
        print_json(trail.to_dict()) if as_json else trail.print(times)
    if not found:
        click.echo(f"{printable(clue)}: nothing was sent under that name that the store still knows", err=True)
        raise SystemExit(EX_FAILED)


def _find(connection: Connection, context: Context, clue: str, limit: int) -> Sequence[int]:
    """The ids of the sends that `clue` means; an address without <> that is not known may be a Message-ID."""
    if "@" not in clue:
        return traces.find_by_queue_id(connection, clue, limit)
    number = addresses.find_number(connection, context.key(clue)) if is_address(clue) else None
    if number is not None:
        return traces.find_by_address(connection, number, limit)
    return traces.find_by_message_id(connection, clue, limit)


class Trail:
    """One message, and what came of it."""

    def __init__(self, connection: Connection, number: int) -> None:
        found = traces.find(connection, number)
        if found is None:
            raise LookupError(f"send {number} is gone")
        self.send: TracedSend = found
        self.why = {number: why for one in found.recipients for number, why in _decided(connection, one, found)}

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        send = self.send
        return {
            "send": str(send.id),
            "at": iso_text(id_time(send.id)),
            "stream": send.stream,
            "queue_id": send.queue_id,
            "message_id": send.message_id,
            "tag": send.tag,
            "sender": send.sender,
            "resend_of": str(send.resend_of) if send.resend_of else None,
            "recipients": [{"address": one.text, "apart": one.apart} for one in send.recipients],
            "events": [as_dict(fact) | {"led_to": self.why.get(fact.id, "")} for fact in send.facts],
            "pending": [_pending(one) for one in send.pending],
        }

    def print(self, times: Times) -> None:
        """For a person, at 80 columns."""
        send = self.send
        again = f", sent again of {send.resend_of}" if send.resend_of else ""
        say(f"{times.second(id_time(send.id))} {times.zone}  {send.stream}, send {send.id}{again}")
        for name, value in (("queue id", send.queue_id), ("Message-ID", send.message_id), ("tag", send.tag)):
            if value:
                say(*wrapped(f"  {name:<12}", value))
        say(*wrapped(f"  {'from':<12}", send.sender))
        for recipient in send.recipients:
            self._print_recipient(recipient, times)
        others = [fact for fact in send.facts if fact.what.address_id is None]
        if others:
            say(f"  {'nobody named':<12}")
        for line in self._facts(others, times):
            say(line)
        say("")

    def _print_recipient(self, recipient: TracedRecipient, times: Times) -> None:
        apart = f" ({_APART.get(recipient.apart, recipient.apart)})" if recipient.apart else ""
        say(*wrapped(f"  {'to':<12}", f"{recipient.text or '(erased)'}{apart}"))
        theirs = [fact for fact in self.send.facts if fact.what.address_id == recipient.address.id]
        lines = [*self._facts(theirs, times)]
        for line in lines or ["              nothing came back"]:
            say(line)

    def _facts(self, some: Sequence[Fact], times: Times) -> Iterator[str]:
        for fact in some:
            proof = f", {fact.what.proof}" if fact.what.proof not in (None, UNSIGNED, VOUCHED) else ""
            yield from wrapped(f"    {times.minute(fact.what.at)}  ", words(fact) + proof)
            if text := fact.what.detail.get("diagnostic"):
                yield from wrapped(" " * 22, text, of_report=True)
            if why := self.why.get(fact.id):
                yield from wrapped(" " * 22 + "-> ", printable(why))
            for one in self.send.pending:
                if one.fact_id == fact.id:
                    yield from wrapped(" " * 22 + "-> ", _words(one))


def _decided(connection: Connection, recipient: TracedRecipient, send: TracedSend) -> Iterator[tuple[int, str]]:
    """What each fact about a recipient led to, by the fact's id."""
    if not any(fact.what.address_id == recipient.address.id for fact in send.facts):
        return
    yield from led_to(refolded(connection, recipient.address)[1]).items()


def _words(one: PendingItem) -> str:
    state = "given up" if one.dead else "waits"
    tried = f" after {one.attempts} tries" if one.attempts else ""
    return f"{one.channel} ({one.target}): {state}{tried}" + (f": {one.error}" if one.error else "")


def _pending(one: PendingItem) -> dict[str, Any]:
    state = "given up" if one.dead else "waiting"
    return {"channel": one.channel, "what": one.target, "state": state, "attempts": one.attempts, "error": one.error}
