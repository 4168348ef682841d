"""Server: answers HTTP on its sockets in one event loop until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import uvloop
from aiohttp import web

from retour_web.app import make_app
from retour_web.backend import Backend
from retour_web.in_flight import InFlight

DRAIN_TIMEOUT_S = 25.0  # that requests in progress have to finish at shutdown
SEND_TIMEOUT_S = 5.0  # that answers may take to be sent after that
KEEP_ALIVE_S = 75.0  # longer than web servers keep an idle connection to us, so that it is they who close it
RENEW_INTERVAL_S = 5.0  # between looks at the paths of the sockets
BACKLOG = 1024
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
RELOAD_SIGNALS = (signal.SIGUSR1, signal.SIGHUP)

_KEEP_PATH: Mapping[str, Any] = {"cleanup_socket": False}
"""A socket's path is removed by who made it, which may be systemd; from Python 3.13 on loops remove it, too."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Hooks:
    """What the server calls when it is ready, when it must read its configuration again, and when it stops."""

    ready: Callable[[], None]
    reload: Callable[[], None]
    stopping: Callable[[], None]
    renew: Callable[[], Mapping[int, socket.socket]] = dict
    """Asked every few seconds: new sockets for those whose paths are gone, by their numbers."""


def serve(backend: Backend, listeners: Sequence[socket.socket], hooks: Hooks) -> None:
    """Answer on `listeners` until SIGTERM; SIGUSR1 and SIGHUP reload."""
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # it would log requests that are none, with their paths
    uvloop.run(_serve(backend, listeners, hooks))


async def _serve(backend: Backend, listeners: Sequence[socket.socket], hooks: Hooks) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    in_flight = InFlight()
    runner = web.AppRunner(
        make_app(backend, in_flight),
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=KEEP_ALIVE_S,
        shutdown_timeout=SEND_TIMEOUT_S,
    )
    await runner.setup()
    doors = _Doors(runner, listeners)
    await doors.open()

    async def renew() -> None:
        for number, listener in hooks.renew().items():
            await doors.replace(number, listener)

    for number in RELOAD_SIGNALS:
        loop.add_signal_handler(number, hooks.reload)
    hooks.ready()
    renewing = loop.create_task(_repeat(renew))
    await stop.wait()
    renewing.cancel()
    hooks.stopping()
    log.info("web stopping")
    doors.close()
    if not await in_flight.drain(DRAIN_TIMEOUT_S):  # aiohttp by itself would read on from none of them
        log.error("requests cut off at shutdown", waited_s=DRAIN_TIMEOUT_S)
    await runner.cleanup()


class _Doors:
    """The listening sockets."""

    def __init__(self, runner: web.AppRunner, listeners: Sequence[socket.socket]) -> None:
        self._runner = runner
        self._listeners = listeners
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        """Accept from now on."""
        self._servers = [await self._listen(listener) for listener in self._listeners]

    async def replace(self, number: int, listener: socket.socket) -> None:
        """Accept on another socket in the place of one; connections that are open go on."""
        self._servers[number].close()
        self._servers[number] = await self._listen(listener)

    def close(self) -> None:
        """Accept no more."""
        for server in self._servers:
            server.close()

    async def _listen(self, listener: socket.socket) -> asyncio.Server:
        loop, factory = asyncio.get_running_loop(), self._runner.server
        if factory is None:
            raise RuntimeError("the runner is not set up")
        if listener.family == socket.AF_UNIX:
            return await loop.create_unix_server(factory, sock=listener, backlog=BACKLOG, **_KEEP_PATH)
        return await loop.create_server(factory, sock=listener, backlog=BACKLOG)


async def _repeat(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(RENEW_INTERVAL_S)
        await work()
