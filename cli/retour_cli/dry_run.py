"""Rehearsal: what recording a returned message would lead to now, found by recording it and taking that back."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from retour_bounces import Report
from retour_cli.context import Context
from retour_policy.ledger.accounts import refolded
from retour_policy.messages import mailbox as oldmail
from retour_policy.messages.returned import ReturnedMessage, ReturnRecorder
from retour_policy.messages.router import Router
from retour_policy.store import facts, schema
from retour_policy.store.addresses import Address
from retour_policy.store.facts import FactFilter


class _TakenBack(Exception):
    """Raised so that nothing of the transaction stays."""


def rehearse(context: Context, data: bytes, report: Report) -> list[str]:
    """What policy would do with a message, a line for each recipient that it is about.

    Raises `ConfigError`, `StoreRefused`, `StoreUnavailable`.
    """
    router = Router(context.config, context.ring, context.clock)
    message = oldmail.parse("", data)
    came_to, route = oldmail.route(message, router)
    arrival = ReturnedMessage(context.clock(), route, came_to, "", message.raw, b"rehearsal", report)
    recorder = ReturnRecorder.of(context.config, context.ring, context.ledger, context.clock)
    lines: list[str] = []
    try:
        with context.store.writing() as connection:
            lines = _recorded(connection, recorder, arrival)
            raise _TakenBack
    except _TakenBack:
        return lines


def _recorded(connection: Connection, recorder: ReturnRecorder, arrival: ReturnedMessage) -> list[str]:
    last = connection.scalar(select(func.max(schema.fact.c.id))) or 0
    outcome = recorder.record(connection, arrival)
    written = select(schema.fact.c.address_id).where(schema.fact.c.id > last, schema.fact.c.address_id.is_not(None))
    numbers = sorted(set(connection.scalars(written)))
    lines = [line for number in numbers for line in _led_to(connection, number, last)]
    if outcome == "forwarded":
        lines.append("forwarded to postmaster: nothing that went out matches it")
    return lines or ["recorded, and counted for nobody"]


def _led_to(connection: Connection, number: int, last: int) -> list[str]:
    row = connection.execute(select(schema.address).where(schema.address.c.id == number)).one()
    _, steps = refolded(connection, Address(number, bytes(row.key)))
    found = facts.read(connection, FactFilter(address_id=number))
    judged = [fact for fact in found if fact.what.policy_id is not None]
    new = [(fact, step) for fact, step in zip(judged, steps, strict=True) if fact.id > last]
    return [f"{row.text or '(forgotten)'}: {step.why or 'recorded, never counted'}" for _, step in new]
