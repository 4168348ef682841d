"""What becomes of a report that cannot be read or recorded for its own sake."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from lab import stores
from lab.reports import hard_bounce
from lab.site import DOMAIN, retour
from retour_cli.context import Context
from retour_lmtpd import backend
from retour_lmtpd.message_data import MessageData
from retour_policy.clock import DAY, system_clock
from retour_policy.messages.returned import ReturnRecorder
from retour_policy.outbox import forward_room
from retour_policy.store import schema, storms
from retour_policy.store.writer import Writer

STREAM = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
"""
RAW = b"Subject: undeliverable\r\n\r\n550 5.1.1 no such user\r\n"


@pytest.fixture
def config(folder):
    assert retour("init", "--dir", folder / "r", "--domain", DOMAIN).returncode == 0
    path = folder / "r/retour.toml"
    path.write_text(path.read_text().partition("[[stream]]\n")[0] + STREAM)
    stores.move(path)
    return path


@pytest.fixture
def shared(config):
    """What all sessions share."""
    context = Context(config)
    writer = Writer(context.store)
    yield backend.Backend(context.config, context.rules, context.ring, writer, context.clock)
    writer.close()
    context.store.close()


def test_most_made_up_tokens_are_refused_for_good(shared):
    """One key number in 32 is put off, for another host may have that key; the others are no such address."""
    kinds = [
        shared.find_recipient(f"b-{first}{'a' * 29}@{DOMAIN}").kind for first in "abcdefghijklmnopqrstuvwxyz234567"
    ]
    assert (kinds.count("invalid token"), kinds.count("unknown key")) == (31, 1)


def taken(config, raw=RAW):
    """A report comes to the address of a send; whether it was recorded, and the events."""
    made = json.loads(
        retour("token", "make", "--stream", "news", "--to", "a@example.net", "--json", config=config).stdout
    )
    context = Context(config)
    writer = Writer(context.store)
    try:
        shared = backend.Backend(context.config, context.rules, context.ring, writer, context.clock)
        content = MessageData(raw, len(raw), False, bytes(32))
        kept = asyncio.run(shared.deliver("", [shared.find_recipient(made["token"])], content))
    finally:
        writer.close()
        context.store.close()
    return kept, [json.loads(line) for line in retour("events", "--json", config=config).stdout.splitlines()]


def test_a_report_that_cannot_be_recorded_is_kept_by_its_token(config, monkeypatch):
    """After two tries only its head is kept; else it would block the queue for five days and then be lost."""
    tries, record_many = [], ReturnRecorder.record_many

    def failing(self, connection, arrivals):
        tries.extend(one.report for one in arrivals)
        if any(one.report is not None for one in arrivals):
            raise ValueError("an internal error")
        return record_many(self, connection, arrivals)

    monkeypatch.setattr(ReturnRecorder, "record_many", failing)
    kept, events = taken(config)
    assert kept == [True]
    assert [report is not None for report in tries] == [True, True, False]
    assert [(event["kind"], event["address"]) for event in events] == [("unread", "a@example.net")]


def test_a_report_that_cannot_be_read_is_kept_by_its_token(config, monkeypatch):
    """Whatever the reader chokes on."""

    def choking(raw, **_):
        raise RecursionError

    monkeypatch.setattr(backend, "read", choking)
    kept, events = taken(config)
    assert (kept, [event["kind"] for event in events]) == ([True], ["unread"])


def test_what_cannot_be_kept_at_all_stays_with_the_mail_server(config, monkeypatch):
    """A no, and so 451; never an exception."""

    def failing(self, connection, arrivals):
        raise ValueError("an internal error")

    monkeypatch.setattr(ReturnRecorder, "record_many", failing)
    assert taken(config) == ([False], [])


def test_what_is_too_much_for_postmaster_stays_with_the_mail_server(config, monkeypatch):
    """A no, and so 451, told once in the log and without a second try; a report about what was sent is recorded."""
    monkeypatch.setattr(forward_room, "MAX_WAITING_FORWARDS", 0)
    context = Context(config)
    writer = Writer(context.store)
    try:
        shared = backend.Backend(context.config, context.rules, context.ring, writer, context.clock)
        content = MessageData(RAW, len(RAW), False, bytes(32))
        with capture_logs() as logs:
            kept = asyncio.run(shared.deliver("", [shared.find_recipient(f"postmaster@{DOMAIN}")], content))
    finally:
        writer.close()
        context.store.close()
    assert kept == [False]
    assert [entry["event"] for entry in logs] == ["too much waits, report stays with the mail server"]
    assert taken(config, hard_bounce("a@example.net").encode())[0] == [True]


def test_a_clock_that_was_set_is_logged_once_and_its_storms_end(config):
    """At the next look, without waiting for the hourly one, which may be nine years away by then."""
    context, set_by, looked = Context(config), [9 * 365 * DAY], []
    clock = lambda: system_clock() + set_by[0]  # noqa: E731
    writer = Writer(context.store)
    storm = {"stream": "news", "side": "x", "opened": clock(), "sent": 9, "failed": 9, "due": clock()}
    try:
        shared = backend.Backend(context.config, context.rules, context.ring, writer, clock)
        asyncio.run(shared.tick())
        writer.run(lambda connection: connection.execute(schema.storm.insert().values(storm)), 10_000)
        set_by[0] = 0
        with capture_logs() as logs:
            for _ in range(3):
                asyncio.run(shared.tick())
                looked.append([entry["event"] for entry in logs])
        with context.store.reading() as connection:
            (ended,) = storms.read(connection)
    finally:
        writer.close()
        context.store.close()
    assert looked == [["clock jumped", "storm closed", "storms from a clock that was ahead"]] * 3
    assert ended.closed and ended.closed <= system_clock()
