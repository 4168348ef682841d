"""One client with very much to ask, and another one: they take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.site import DOMAIN, retour
from retour_cli.context import Context
from retour_lmtpd.backend import Backend, Recipient, Refusal
from retour_lmtpd.connections import Connections
from retour_lmtpd.lmtp import MAX_RECIPIENTS, Session
from retour_lmtpd.socketmap import Lookup, netstring
from retour_policy.store.writer import Writer

COMMANDS = 100_000
MAX_IN_BETWEEN = 1_000  # of one client's commands, while another has its five answers: a few for each turn of the loop


class CountingBackend(Backend):
    """Counts how many addresses it was asked about."""

    asked = 0

    def find_recipient(self, address: str) -> Recipient | Refusal:
        self.asked += 1
        return super().find_recipient(address)


@pytest.fixture
def backend(folder: Path) -> Iterator[CountingBackend]:
    """A backend on a store of its own."""
    assert retour("init", "--dir", folder / "r", "--domain", DOMAIN).returncode == 0
    context = Context(folder / "r/retour.toml")
    writer = Writer(context.store)
    yield CountingBackend(context.config, context.rules, context.ring, writer, context.clock)
    writer.close()
    context.store.close()


async def flooding(path: str, octets: bytes) -> asyncio.Task[None]:
    """A client that sends all that at once, and reads the answers."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(octets)

    async def read() -> None:
        while await reader.read(65_536):
            pass
        writer.close()

    return asyncio.create_task(read())


async def asked_meanwhile(
    backend: CountingBackend, path: str, flood: bytes, dialogue: list[tuple[bytes, bytes]]
) -> int:
    """How much the flood was answered while another client had its dialogue: what it sends, how the answer ends."""
    others = await flooding(path, flood)
    while not backend.asked:
        await asyncio.sleep(0)
    before = backend.asked
    reader, writer = await asyncio.open_unix_connection(path)
    for question, end in dialogue:
        writer.write(question)
        await reader.readuntil(end)
    others.cancel()
    writer.close()
    return backend.asked - before


def test_pipelined_commands_leave_others_their_turn(folder: Path, backend: CountingBackend) -> None:
    """A hundred thousand recipients in one session do not hold up the report of another."""

    async def play() -> int:
        path, sessions = str(folder / "lmtp"), Connections()
        await asyncio.get_running_loop().create_unix_server(lambda: Session(backend, sessions), path)
        flood = b"LHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<nobody@bounces.example.com>\r\n" * COMMANDS
        commands = [b"MAIL FROM:<>\r\n", b"RCPT TO:<postmaster@bounces.example.com>\r\n", b"DATA\r\n"]
        dialogue = [(b"", b"\r\n"), (b"LHLO x\r\n", b"250 SMTPUTF8\r\n"), *((one, b"\r\n") for one in commands)]
        return await asked_meanwhile(backend, path, flood, dialogue)

    assert asyncio.run(play()) < MAX_IN_BETWEEN


def test_pipelined_lookups_leave_others_their_turn(folder: Path, backend: CountingBackend) -> None:
    """Nor do a hundred thousand lookups in one connection; all of them are answered."""

    async def play() -> int:
        path, lookups = str(folder / "lookup"), Connections()
        await asyncio.get_running_loop().create_unix_server(lambda: Lookup(backend, lookups), path)
        question = netstring(b"bounce nobody@bounces.example.com")
        between = await asked_meanwhile(backend, path, question * COMMANDS, [(question, b",")] * 5)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(question * 1_000)
        await reader.readexactly(1_000 * len(netstring(b"NOTFOUND ")))
        writer.close()
        return between

    assert asyncio.run(play()) < MAX_IN_BETWEEN


def test_recipients_of_one_message_are_bounded(folder: Path, backend: CountingBackend) -> None:
    """A hundred are taken (RFC 5321 section 4.5.3.1.8), the next is put off to another message."""

    async def play() -> list[bytes]:
        path, sessions = str(folder / "lmtp"), Connections()
        await asyncio.get_running_loop().create_unix_server(lambda: Session(backend, sessions), path)
        reader, writer = await asyncio.open_unix_connection(path)
        rcpt = b"RCPT TO:<postmaster@bounces.example.com>\r\n"
        writer.write(b"LHLO x\r\nMAIL FROM:<>\r\n" + rcpt * (MAX_RECIPIENTS + 1) + b"QUIT\r\n")
        replies = (await reader.read()).splitlines()[7:]
        writer.close()
        return replies

    replies = asyncio.run(play())
    assert replies[:-2] == [b"250 2.1.5 OK"] * 100
    assert replies[-2] == b"452 4.5.3 too many recipients"
