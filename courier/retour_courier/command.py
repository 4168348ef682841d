"""Command: runs a program that gets the event as JSON on its standard input."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from functools import partial
from typing import cast

from retour_courier.errors import DeliveryError
from retour_courier.leases import Batch
from retour_courier.outcomes import StoreWrite
from retour_policy.config.courier import HookSection
from retour_policy.errors import EX_TEMPFAIL
from retour_policy.parent import die_with_parent
from retour_policy.sanitize import clean

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
MAX_OUTPUT_OCTETS = 2_000  # of the end of its output, kept for the error
FINAL_OUTPUT_S = 0.5  # to read its last output, if a process that it left behind keeps the pipe open


class _Run(asyncio.SubprocessProtocol):
    """A running program. It is over when it exits, even if it has left processes in the background."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.output = b""
        self.exited, self.output_ended = loop.create_future(), loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.output = (self.output + data)[-MAX_OUTPUT_OCTETS:]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1 and not self.output_ended.done():
            self.output_ended.set_result(None)

    def process_exited(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)


class CommandCarrier:
    """The command of one hook. No shell, a clean environment, the folder /, a process group of its own."""

    def __init__(self, hook: HookSection) -> None:
        self._argv = hook.command
        self._timeout_s = hook.timeout / 1000
        self.connections = hook.connections

    async def carry(self, batch: Batch) -> StoreWrite | None:
        """Run it. Raises `DeliveryError`, a temporary one for exit status 75 (EX_TEMPFAIL) and a timeout."""
        (item,) = batch
        transport, run = await self._begin(item.target)
        try:
            _write_event(transport, item.body)
            async with asyncio.timeout(self._timeout_s):
                await asyncio.shield(run.exited)
        except TimeoutError as error:
            raise DeliveryError(f"not finished after {self._timeout_s:g} s") from error
        finally:
            await _end(transport, run)
        _judge(transport.get_returncode(), run.output)
        return None

    async def close(self) -> None:
        """Nothing is open."""

    async def _begin(self, event: str) -> tuple[asyncio.SubprocessTransport, _Run]:
        try:
            return await asyncio.get_running_loop().subprocess_exec(
                _Run,
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=ENVIRONMENT | {"RETOUR_EVENT": event},
                cwd="/",
                start_new_session=True,
                # Before another courier runs it again.
                preexec_fn=partial(die_with_parent, signal.SIGKILL, os.getpid()),
            )
        except OSError as error:
            raise DeliveryError(f"{self._argv[0]}: {error.strerror or error}") from error


def _write_event(transport: asyncio.SubprocessTransport, event: bytes) -> None:
    """Write the event. A program need not read it."""
    stdin = cast(asyncio.WriteTransport, transport.get_pipe_transport(0))
    stdin.write(event + b"\n")
    stdin.close()


async def _end(transport: asyncio.SubprocessTransport, run: _Run) -> None:
    """Kill the program and its process group. Its last output is still read."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(transport.get_pid(), signal.SIGKILL)
    try:
        await asyncio.shield(run.exited)
        await asyncio.wait([run.output_ended], timeout=FINAL_OUTPUT_S)
    finally:
        transport.close()


def _judge(status: int | None, output: bytes) -> None:
    if status == 0:
        return
    ending = f"killed by signal {-status}" if status is not None and status < 0 else f"exit status {status}"
    last_output = clean(output.decode("utf-8", "replace").strip())
    raise DeliveryError(f"{ending}: {last_output}" if last_output else ending, temporary=status == EX_TEMPFAIL)
