"""Daemon: runs the LMTP listeners and the lookups in one event loop until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
import uvloop

from retour_lmtpd.backend import Backend
from retour_lmtpd.connections import TOO_MANY, Connections
from retour_lmtpd.listener import MAX_ACCEPTED_AT_ONCE, Listener
from retour_lmtpd.lmtp import Session
from retour_lmtpd.socketmap import LATER as LOOK_UP_LATER
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
    renew: Callable[[], Mapping[int, socket.socket]] = dict
    """Asked every few seconds, and at a reload: new sockets for those whose paths are gone, by their numbers.

    The listeners are counted from 0, and the lookup comes after them.
    """
    shares: bool = False
    """Whether other processes accept on the same sockets."""


def serve(backend: Backend, listeners: Sequence[socket.socket], lookup: socket.socket, hooks: Hooks) -> None:
    """Answer on `listeners` (LMTP) and `lookup` (socketmap) until SIGTERM; SIGUSR1 and SIGHUP reload."""
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd logs each line of each session
    uvloop.run(_serve(backend, listeners, lookup, hooks))


async def _serve(backend: Backend, listeners: Sequence[socket.socket], lookup: socket.socket, hooks: Hooks) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    sessions, lookups = Connections(), Connections()
    at_once = 1 if hooks.shares else MAX_ACCEPTED_AT_ONCE  # so that no process takes the connections of all
    refusal = TOO_MANY.encode() + b"\r\n"
    servers = [Listener(one, lambda: Session(backend, sessions), refusal, at_once) for one in listeners]
    servers.append(Listener(lookup, lambda: Lookup(backend, lookups), LOOK_UP_LATER, at_once))

    def renew() -> None:
        for number, listener in hooks.renew().items():
            servers[number].replace(listener)

    def reload() -> None:
        renew()
        hooks.reload()

    for number in RELOAD_SIGNALS:
        loop.add_signal_handler(number, reload)
    hooks.ready()
    ticking = loop.create_task(_tick(backend, renew))
    await stop.wait()
    ticking.cancel()
    hooks.stopping()
    log.info("lmtpd stopping")
    for server in servers:
        server.close()
    sessions.wind_up()
    lookups.wind_up()
    if not await sessions.wait_for_none(DRAIN_TIMEOUT_MS):
        log.error("sessions cut off at shutdown", waited_ms=DRAIN_TIMEOUT_MS)


async def _tick(backend: Backend, renew: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(STORM_INTERVAL_S)
        renew()
        await backend.tick()
