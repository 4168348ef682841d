"""In flight: the requests that are being read and answered, so that a service that stops lets them finish."""

from __future__ import annotations

import asyncio
from types import TracebackType


class InFlight:
    """A context manager, entered by each request. In one event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()
        self.stopping = False
        """Whether connections are to end with the request that they carry."""

    def __enter__(self) -> None:
        self._count += 1
        self._none.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    async def drain(self, timeout_s: float) -> bool:
        """Wait until there are none, at most `timeout_s` seconds; whether there are none."""
        self.stopping = True
        try:
            await asyncio.wait_for(self._none.wait(), timeout_s)
        except TimeoutError:
            return False
        return True
