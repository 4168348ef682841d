"""Fuzzes a session of the LMTP daemon: `python tests/fuzz/fuzz_lmtp.py [libFuzzer options]`."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import deque
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["retour_lmtpd", "aiosmtpd"]):
    from retour_lmtpd import lmtp
    from retour_lmtpd.backend import Backend
    from retour_lmtpd.connections import Connections
    from retour_lmtpd.lmtp import Session

import parts
import quiet

PARTS = parts.make()
REPLY = re.compile(rb"([2345]\d\d)[ -][^\r\n\x00]*")
OPENING = b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<" + PARTS.address.encode() + b">\r\n"


class Steps(asyncio.AbstractEventLoop):
    """A loop that takes step after step and waits for nothing: no session here has a socket, and no timer ends.

    What asyncio's own loop does besides costs more than the steps of a session.
    """

    def __init__(self) -> None:
        self._ready: deque[asyncio.Handle] = deque()

    def call_soon(self, callback, *args, context=None):  # type: ignore[no-untyped-def]
        """Call it after those that wait."""
        self._ready.append(handle := asyncio.Handle(callback, args, self, context))
        return handle

    def call_at(self, when, callback, *args, context=None):  # type: ignore[no-untyped-def]
        """Never call it."""
        return asyncio.TimerHandle(when, callback, args, self, context)

    call_later = call_at

    def create_future(self):  # type: ignore[no-untyped-def]
        """As asyncio does."""
        return asyncio.Future(loop=self)

    def create_task(self, coro, **named):  # type: ignore[no-untyped-def]
        """As asyncio does."""
        return asyncio.Task(coro, loop=self, **named)

    def time(self) -> float:
        """Time stands still."""
        return 0.0

    def get_debug(self) -> bool:
        """Not wanted."""
        return False

    def is_closed(self) -> bool:
        """It goes on."""
        return False

    def _timer_handle_cancelled(self, handle):  # type: ignore[no-untyped-def]
        pass

    def call_exception_handler(self, context):  # type: ignore[no-untyped-def]
        """An exception that nobody took is a fault."""
        quiet.faults.append(str(context))

    def take(self, most: int = 1_000_000) -> None:
        """Take the steps that there are, and those that follow from them, `most` of them; in order, as asyncio does."""
        asyncio._set_running_loop(self)
        while self._ready and (most := most - 1):
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()
        asyncio._set_running_loop(None)


LOOP = Steps()


class Sitting(Session):
    """A session that is made in less time: aiosmtpd looks at each member of each session for its commands."""

    command_size_limit = 200  # less than it is, so that short inputs pass it

    def __dir__(self) -> list[str]:
        """The members that are looked for."""
        return MEMBERS


MEMBERS = [name for name in dir(Session) if name.startswith(("smtp_", "auth_"))]


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


def _hold(data: bytes) -> tuple[bytes, int]:
    backend, wire = NothingKept(), Wire()
    session = Sitting(backend, Connections())
    session.connection_made(wire)
    size = data[0] % 128 + 1 if data else 1
    for start in range(1, len(data), size * 7):
        if wire.closed:
            break
        session.data_received(data[start : start + size * 7])
        LOOP.take(data[0] // 2 % 16 or 1_000_000)  # or more comes in while it is still at work
    LOOP.take()
    session.connection_lost(None)
    LOOP.take()
    return bytes(wire.said), backend.delivered


def one_input(data: bytes) -> None:
    """Whatever a client says, each line of the answer is a reply, and only what was delivered is called recorded."""
    data = data.replace(b"%", PARTS.address.encode())  # which no search finds
    if data[:1] and data[0] % 2:
        data = data[:1] + OPENING + data[1:]
    said, delivered = _hold(data)
    lines = said.split(b"\r\n")
    assert all(REPLY.fullmatch(line) for line in lines[:-1]), said
    assert said.count(b"250 2.0.0 recorded") <= delivered, (said, delivered)  # the client may have left before
    quiet.assert_no_fault()
    assert b"Error" not in said.replace(b"Error: ", b"") and b"Traceback" not in said, said


if __name__ == "__main__":
    quiet.logs()
    lmtp.MAX_RECIPIENTS = 3  # less than it is, as above
    asyncio.set_event_loop(LOOP)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
