"""Daemon: runs the LMTP listeners and the lookups in one event loop until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import uvloop

from retour_lmtpd.backend import Backend
from retour_lmtpd.connections import Connections
from retour_lmtpd.lmtp import Session
from retour_lmtpd.socketmap import Lookup

DRAIN_TIMEOUT_MS = 25_000  # that sessions have to finish at shutdown
STORM_INTERVAL_S = 5.0  # between updates of open storms
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
RELOAD_SIGNALS = (signal.SIGUSR1, signal.SIGHUP)

log = structlog.get_logger()


@dataclass(frozen=True)
class Hooks:
    """What the daemon calls when it is ready, when it must read its configuration again, and when it stops."""

    ready: Callable[[], None]
    reload: Callable[[], None]
    stopping: Callable[[], None]


def serve(backend: Backend, listeners: Sequence[socket.socket], lookup: socket.socket, hooks: Hooks) -> None:
    """Answer on `listeners` (LMTP) and `lookup` (socketmap) until SIGTERM; SIGUSR1 and SIGHUP reload."""
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd logs each line of each session
    uvloop.run(_serve(backend, listeners, lookup, hooks))


async def _serve(backend: Backend, listeners: Sequence[socket.socket], lookup: socket.socket, hooks: Hooks) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    for number in RELOAD_SIGNALS:
        loop.add_signal_handler(number, hooks.reload)
    sessions, lookups = Connections(), Connections()
    servers = [await _listen(loop, lambda: Session(backend, sessions), listener) for listener in listeners]
    lookup_server = await _listen(loop, lambda: Lookup(backend, lookups), lookup)
    hooks.ready()
    ticking = loop.create_task(_tick(backend))
    await stop.wait()
    ticking.cancel()
    hooks.stopping()
    log.info("lmtpd stopping")
    for server in (*servers, lookup_server):
        server.close()
    sessions.wind_up()
    lookups.wind_up()
    if not await sessions.wait_for_none(DRAIN_TIMEOUT_MS):
        log.error("sessions cut off at shutdown", waited_ms=DRAIN_TIMEOUT_MS)


async def _tick(backend: Backend) -> None:
    while True:
        await asyncio.sleep(STORM_INTERVAL_S)
        await backend.tick()


async def _listen(
    loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.BaseProtocol], listener: socket.socket
) -> asyncio.Server:
    if listener.family == socket.AF_UNIX:
        # From Python 3.13 on the loop would remove the path, which may be systemd's.
        keep: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        return await loop.create_unix_server(factory, sock=listener, **keep)
    return await loop.create_server(factory, sock=listener)
