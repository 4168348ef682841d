"""Listener: accepts connections on one socket, and tells clients for whom there is no descriptor left.

The event loop by itself would close their connections without a word.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable

import structlog

MAX_ACCEPTED_AT_ONCE = 100  # before sessions that are open get their turn
PAUSE_S = 1.0  # where not even telling them is possible; who comes meanwhile waits in the queue of the socket
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = structlog.get_logger()


class Listener:
    """One listening socket of the event loop."""

    def __init__(
        self,
        listener: socket.socket,
        factory: Callable[[], asyncio.BaseProtocol],
        refusal: bytes,
        at_once: int = MAX_ACCEPTED_AT_ONCE,
    ) -> None:
        self._at_once = at_once
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._refusal = refusal
        self._spare: int | None = None
        self._is_exhausted = False
        self._starting: set[asyncio.Task[None]] = set()
        self._take_spare()
        self._listen(listener)

    def replace(self, listener: socket.socket) -> None:
        """Accept on another socket from now on; sessions that are open go on."""
        self._stop_listening()
        self._listen(listener)

    def close(self) -> None:
        """Accept no more."""
        self._stop_listening()
        self._give_spare()

    def _listen(self, listener: socket.socket) -> None:
        self._socket = listener
        listener.setblocking(False)
        self._loop.add_reader(listener.fileno(), self._accept)

    def _stop_listening(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _accept(self) -> None:
        """Clients have come."""
        for _ in range(self._at_once):
            try:
                client, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return None
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                return self._turn_away(error)
            if self._is_exhausted:
                self._is_exhausted = False
                log.info("descriptors available again")
            starting = self._loop.create_task(self._start(client))
            self._starting.add(starting)
            starting.add_done_callback(self._starting.discard)
        return None

    async def _start(self, client: socket.socket) -> None:
        try:
            if client.family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._factory, client)
        except OSError as error:
            client.close()
            log.error("connection not begun", error=str(error))

    def _turn_away(self, error: OSError) -> None:
        """Tell one client, with the descriptor that is kept for that."""
        if not self._is_exhausted:
            self._is_exhausted = True
            log.error("out of descriptors, clients are told to come again", error=error.strerror)
        self._give_spare()
        try:
            client, _ = self._socket.accept()
            with client, contextlib.suppress(OSError):
                client.setblocking(False)
                client.send(self._refusal)
        except OSError:
            self._pause()
        self._take_spare()

    def _pause(self) -> None:
        paused = self._socket
        self._loop.remove_reader(paused.fileno())

        def resume() -> None:
            if paused is self._socket and paused.fileno() >= 0:
                self._loop.add_reader(paused.fileno(), self._accept)

        self._loop.call_later(PAUSE_S, resume)

    def _take_spare(self) -> None:
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _give_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
