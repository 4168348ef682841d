"""What becomes of a report while memory is short: that is no fault of the report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.site import DOMAIN, retour
from retour_cli.context import Context
from retour_lmtpd import backend as module
from retour_lmtpd.backend import MAX_ATTEMPTS, MAX_MEMORY_ERRORS, Backend
from retour_lmtpd.connections import Connections
from retour_lmtpd.lmtp import Session
from retour_lmtpd.message_data import DataReader, MessageData
from retour_policy.store.facts import FactFilter, read
from retour_policy.store.writer import Writer

ROLE = f"postmaster@{DOMAIN}"
LARGE = b"Subject: undeliverable\r\n\r\n" + b"550 5.1.1 no such user\r\n" * 4_000


class Short:
    """A backend whose deliveries can be short of something."""

    def __init__(self, folder: Path) -> None:
        assert retour("init", "--dir", folder / "r", "--domain", DOMAIN).returncode == 0
        self.context = Context(folder / "r/retour.toml")
        self.writer = Writer(self.context.store)
        context = self.context
        self.backend = Backend(context.config, context.rules, context.ring, self.writer, context.clock)

    def deliver(self, number: int, raw: bytes = b"Subject: undeliverable\r\n\r\nx\r\n") -> bool:
        """Whether a report is recorded."""
        recipient = self.backend.find_recipient(ROLE)
        assert isinstance(recipient, module.Recipient)
        content = MessageData(raw, len(raw), False, number.to_bytes(32, "big"))
        (recorded,) = asyncio.run(self.backend.deliver("", [recipient], content))
        return recorded

    def kinds(self) -> list[str]:
        """What is recorded."""
        with self.context.store.reading() as connection:
            return [fact.what.kind for fact in read(connection, FactFilter())]


@pytest.fixture
def short(folder: Path) -> Any:
    short = Short(folder)
    yield short
    short.writer.close()
    short.context.store.close()


def fails_with(error: type[Exception]) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def test_a_report_that_memory_does_not_suffice_for_stays_with_the_mail_server(
    short: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is read as any other when it comes again."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "read", fails_with(MemoryError))
        assert not short.deliver(1)
        assert not short.deliver(2, LARGE)
    assert short.kinds() == []
    assert short.deliver(1) and short.deliver(2, LARGE)
    assert "unread" not in short.kinds()


def test_a_report_that_memory_never_suffices_for_does_not_block_for_ever(
    short: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some deliveries its head is kept; it cost another report nothing."""
    monkeypatch.setattr(module, "read", fails_with(MemoryError))
    assert not any(short.deliver(1) for _ in range(MAX_MEMORY_ERRORS))
    assert not short.deliver(2)
    assert short.deliver(1)
    assert short.kinds() == ["unread"]


def test_a_thread_that_cannot_be_started_is_no_fault_of_the_report(
    short: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large report is read in one."""
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "to_thread", fails_with(RuntimeError))
        assert not any(short.deliver(1, LARGE) for _ in range(2 * MAX_MEMORY_ERRORS))
    assert short.kinds() == []


def test_while_it_is_recorded_as_well(short: Short, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is kept in place of it."""
    submit, errors = Writer.submit_to, iter([MemoryError] * MAX_ATTEMPTS)

    def short_at_first(writer: Writer, *what: Any) -> Any:
        if error := next(errors, None):
            raise error
        return submit(writer, *what)

    monkeypatch.setattr(Writer, "submit_to", short_at_first)
    assert not short.deliver(1)
    assert short.kinds() == []


def test_while_it_is_taken_in_as_well(folder: Path, short: Short, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client hears 421 at once, for the rest of its message must not be taken for commands."""
    monkeypatch.setattr(DataReader, "feed", fails_with(MemoryError))
    commands = f"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<{ROLE}>\r\nRCPT TO:<{ROLE}>\r\nDATA\r\n".encode()

    async def play() -> list[bytes]:
        path, sessions = str(folder / "lmtp"), Connections()
        await asyncio.get_running_loop().create_unix_server(lambda: Session(short.backend, sessions), path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(commands)
        await reader.readuntil(b"354 end with <CRLF>.<CRLF>\r\n")
        writer.write(b"Subject: x\r\n\r\nNOOP\r\nNOOP\r\n.\r\n")
        replies = (await reader.read()).splitlines()
        writer.close()
        return replies

    assert asyncio.run(play()) == [b"421 4.3.0 the message could not be taken in"]
    assert short.kinds() == []
