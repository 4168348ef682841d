"""Connections: those that are open, how many are allowed, and from where."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import structlog

from retour_policy import networks
from retour_policy.config.model import LmtpdSection

TOO_MANY = "421 4.3.2 too many connections, try again later"

log = structlog.get_logger()


class Session(Protocol):
    """A connection that can be asked to end."""

    def wind_up(self) -> None:
        """End as soon as the message in progress is done."""


class Connections:
    """The sessions that are open."""

    def __init__(self) -> None:
        self._open: set[Session] = set()
        self._none_open = asyncio.Event()

    def __contains__(self, session: Session) -> bool:
        return session in self._open

    def enter(self, session: Session, transport: Any, settings: LmtpdSection) -> str | None:
        """Let a session in, or return why not."""
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and not networks.contain(settings.allow, str(peer[0])):
            log.warning("client refused", client=peer[0])
            return "421 4.7.0 you may not connect here"
        if len(self._open) >= settings.max_connections:
            log.warning("too many connections", max=settings.max_connections)
            return TOO_MANY
        self._open.add(session)
        return None

    def wind_up(self) -> None:
        """Ask all that are open to end."""
        for session in list(self._open):
            session.wind_up()

    def leave(self, session: Session) -> bool:
        """A session ended; whether it had been let in."""
        was_open = session in self._open
        self._open.discard(session)
        if not self._open:
            self._none_open.set()
        return was_open

    async def wait_for_none(self, timeout: int) -> bool:
        """Wait at most `timeout` milliseconds until none is open; whether none is."""
        self._none_open.clear()
        if not self._open:
            return True
        try:
            async with asyncio.timeout(timeout / 1000):
                await self._none_open.wait()
        except TimeoutError:
            return False
        return True
