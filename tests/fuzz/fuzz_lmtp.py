"""Fuzzes a session of the LMTP daemon: `python tests/fuzz/fuzz_lmtp.py [libFuzzer options]`."""

from __future__ import annotations

import asyncio
import inspect
import re
import selectors
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["retour_lmtpd", "aiosmtpd"]):
    import aiosmtpd.smtp

    from retour_lmtpd.backend import Backend
    from retour_lmtpd.connections import Connections
    from retour_lmtpd.lmtp import Session

import parts
import quiet

PARTS = parts.make()
REPLY = re.compile(rb"([2345]\d\d)[ -][^\r\n\x00]*")
OPENING = b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<" + PARTS.address.encode() + b">\r\n"


class NoSelector(selectors.BaseSelector):
    """Waits for nothing: no session here has a socket, and a system call for each step of one costs more than it."""

    def register(self, fileobj, events, data=None):  # type: ignore[no-untyped-def]
        """As if it was watched."""
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj):  # type: ignore[no-untyped-def]
        """As if it had been watched."""
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def select(self, timeout=None):  # type: ignore[no-untyped-def]
        """Nothing is ready."""
        return []

    def get_map(self) -> Mapping[object, selectors.SelectorKey]:  # type: ignore[override]
        """Nothing is watched."""
        return {}


LOOP = asyncio.SelectorEventLoop(NoSelector())


class NothingKept(Backend):
    """Takes the same addresses as the real one, reads each message, and records nothing."""

    def __init__(self) -> None:
        self._settings = PARTS  # type: ignore[assignment]
        self.delivered = 0

    async def deliver(self, sender, recipients, message):  # type: ignore[no-untyped-def]
        """As if all was recorded."""
        assert len(message.raw) <= 1_064_000 and "\n" not in sender
        self.delivered += len(recipients)
        return [True] * len(recipients)


class Wire(asyncio.Transport):
    """The other side of the session: keeps what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.said = bytearray()
        self.closed = False

    def write(self, data):  # type: ignore[no-untyped-def]
        """Keep it."""
        if not self.closed:
            self.said += data

    def is_closing(self) -> bool:
        """Whether the session has hung up."""
        return self.closed

    def close(self) -> None:
        """Hang up."""
        self.closed = True

    abort = close

    def get_extra_info(self, name, default=None):  # type: ignore[no-untyped-def]
        """A client on the unix socket."""
        return "" if name == "peername" else default


def _without_members() -> None:
    """Let aiosmtpd look for ways to log in (it finds none here) by their names: to fetch each member of each session
    takes as long as all else that an input does."""
    members = [name for name in dir(Session) if name.startswith("auth_")]
    fast = lambda thing: [(name, getattr(thing, name)) for name in members if hasattr(thing, name)]  # noqa: E731
    aiosmtpd.smtp.inspect = SimpleNamespace(getmembers=fast, signature=inspect.signature)  # type: ignore[assignment]


async def _hold(data: bytes) -> tuple[bytes, int]:
    backend, wire = NothingKept(), Wire()
    session = Session(backend, Connections())
    session.connection_made(wire)
    size = data[0] + 1 if data else 1
    for start in range(1, len(data), size * 7):
        if wire.closed:
            break
        session.data_received(data[start : start + size * 7])
        await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)
    session.connection_lost(None)
    await asyncio.sleep(0)
    return bytes(wire.said), backend.delivered


def one_input(data: bytes) -> None:
    """Whatever a client says, each line of the answer is a reply, and only what was delivered is called recorded."""
    if data[:1] and data[0] % 2:
        data = data[:1] + OPENING + data[1:]
    said, delivered = LOOP.run_until_complete(_hold(data))
    lines = said.split(b"\r\n")
    assert all(REPLY.fullmatch(line) for line in lines[:-1]), said
    assert said.count(b"250 2.0.0 recorded") <= delivered, (said, delivered)  # the client may have left before
    quiet.assert_no_fault()
    assert b"Error" not in said.replace(b"Error: ", b"") and b"Traceback" not in said, said


if __name__ == "__main__":
    quiet.logs()
    _without_members()
    asyncio.set_event_loop(LOOP)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
