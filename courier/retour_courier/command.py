"""Command: runs a program that gets the event as JSON on its standard input."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from contextlib import suppress

from retour_courier.failure import NotDone
from retour_courier.hands import Parcel, Work
from retour_policy.clean import clean
from retour_policy.errors import EX_TEMPFAIL
from retour_policy.outside import HookSection

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
SAID = 2_000  # octets of the end of what it prints that are kept for the error
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class CommandCarrier:
    """One hook's. No shell, a clean environment, the folder /, a process group of its own."""

    def __init__(self, hook: HookSection) -> None:
        self._argv = hook.command
        self._timeout = hook.timeout / 1000
        self.connections = hook.connections

    async def carry(self, parcel: Parcel) -> Work | None:
        """Run it. Raises `NotDone`: to be tried again after exit status 75 (EX_TEMPFAIL) or when time is over."""
        (item,) = parcel
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=ENVIRONMENT | {"RETOUR_EVENT": item.target},
                cwd="/",
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise NotDone(f"{self._argv[0]}: {error.strerror or error}") from error
        try:
            said = await asyncio.wait_for(_talk(process, item.body), self._timeout)
        except TimeoutError as error:
            raise NotDone(f"not finished after {self._timeout:g} s") from error
        finally:
            await _end(process)
        _judge(process.returncode, said)
        return None

    async def close(self) -> None:
        """Nothing is open."""


async def _talk(process: asyncio.subprocess.Process, event: bytes) -> bytes:
    """Hand the event over and read what it prints; the end of that."""
    writing = asyncio.create_task(_write(process, event))
    try:
        said = b""
        assert process.stdout
        while more := await process.stdout.read(65_536):
            said = (said + more)[-SAID:]
        await process.wait()
        return said
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing


async def _write(process: asyncio.subprocess.Process, event: bytes) -> None:
    """Some programs do not read what they are given; that is theirs to decide."""
    assert process.stdin
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(event + b"\n")
        await process.stdin.drain()
    process.stdin.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Nothing of it goes on."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _judge(status: int | None, said: bytes) -> None:
    if status == 0:
        return
    what = f"killed by signal {-status}" if status is not None and status < 0 else f"exit status {status}"
    words = clean(said.decode("utf-8", "replace").strip())
    raise NotDone(f"{what}: {words}" if words else what, temporary=status == EX_TEMPFAIL)


def die_with_parent() -> None:
    """When the courier is killed, so is what it had begun, before another courier begins it again (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
