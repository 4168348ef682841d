"""Guests: the connections that are open, how many there may be, and from where."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import structlog

from retour_policy import networks
from retour_policy.config.model import LmtpdSection

log = structlog.get_logger()


class Session(Protocol):
    """A connection that can be asked to end."""

    def wind_up(self) -> None:
        """End, as soon as what is under way is done."""


class Connections:
    """Counts sessions in, and waits for them to end."""

    def __init__(self) -> None:
        self._inside: set[Session] = set()
        self._gone = asyncio.Event()

    def __contains__(self, session: Session) -> bool:
        return session in self._inside

    def enter(self, session: Session, transport: Any, settings: LmtpdSection) -> str | None:
        """Let a session in, or say why not."""
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and not networks.contain(settings.allow, str(peer[0])):
            log.warning("client refused", client=peer[0])
            return "421 4.7.0 you may not connect here"
        if len(self._inside) >= settings.max_connections:
            log.warning("too many connections", most=settings.max_connections)
            return "421 4.3.2 too many connections, try again later"
        self._inside.add(session)
        return None

    def wind_up(self) -> None:
        """Ask all that are inside to end."""
        for session in list(self._inside):
            session.wind_up()

    def leave(self, session: Session) -> bool:
        """A session ended; whether it had been let in."""
        was_inside = session in self._inside
        self._inside.discard(session)
        if not self._inside:
            self._gone.set()
        return was_inside

    async def wait_for_none(self, timeout: int) -> bool:
        """Wait at most `timeout` milliseconds until nobody is inside; whether that came."""
        self._gone.clear()
        if not self._inside:
            return True
        try:
            async with asyncio.timeout(timeout / 1000):
                await self._gone.wait()
        except TimeoutError:
            return False
        return True
