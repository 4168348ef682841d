"""Dry run: what recording a returned message would lead to now, found by recording it and rolling back."""

from __future__ import annotations

from sqlalchemy import Connection

from retour_bounces import Report
from retour_cli.context import Context
from retour_policy.ledger.accounts import refolded
from retour_policy.messages import mailbox
from retour_policy.messages.returned import ReturnRecorder
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Router
from retour_policy.store import addresses, facts


class _RollBack(Exception):
    """Raised to roll the transaction back."""


def dry_run(context: Context, data: bytes, report: Report) -> list[str]:
    """What policy would do with a message, a line for each recipient that it is about.

    Raises `ConfigError`, `StoreRefused`, `StoreUnavailable`.
    """
    router = Router(context.config, context.ring, context.clock)
    message = mailbox.parse("", data)
    delivered_to, route = mailbox.route(message, router)
    returned = ReturnedMessage(context.clock(), route, delivered_to, "", message.raw, b"dry run", report)
    recorder = ReturnRecorder.of(context.config, context.ring, context.ledger, context.clock)
    lines: list[str] = []
    try:
        with context.store.writing() as connection:
            lines = _recorded(connection, recorder, returned)
            raise _RollBack
    except _RollBack:
        return lines


def _recorded(connection: Connection, recorder: ReturnRecorder, returned: ReturnedMessage) -> list[str]:
    last = facts.find_last_id(connection)
    outcome = recorder.record(connection, returned)
    numbers = facts.read_address_ids(connection, after=last)
    lines = [line for number in numbers for line in _led_to(connection, number, last)]
    if outcome == "forwarded":
        lines.append("forwarded to postmaster: nothing that went out matches it")
    return lines or ["recorded, and counted for nobody"]


def _led_to(connection: Connection, number: int, last: int) -> list[str]:
    address, text = addresses.find_with_text(connection, number)
    _, steps = refolded(connection, address)
    new = [step for step in steps if step.fact > last]
    return [f"{text or '(erased)'}: {step.why or 'recorded, never counted'}" for step in new]
