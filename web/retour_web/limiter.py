"""Limiter: how often somebody may do something within a minute."""

from __future__ import annotations

import time
from collections.abc import Callable

WINDOW_S = 60.0
MAX_KEYS = 10_000  # remembered at a time; the oldest is forgotten first


class Limiter:
    """Counts by keys, in windows of a minute each of which begins with the first try."""

    def __init__(self, most: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._monotonic = monotonic
        self._windows: dict[str, tuple[float, int]] = {}

    def take(self, key: str) -> float:
        """Count one try; in how many seconds another is welcome, 0.0 if this one is."""
        now = self._monotonic()
        began, count = self._windows.get(key, (now, 0))
        if now - began >= WINDOW_S:
            began, count = now, 0
        if count == 0:
            self._windows.pop(key, None)  # so that the oldest window stands first
        self._windows[key] = (began, count + 1)
        if len(self._windows) > MAX_KEYS:
            del self._windows[next(iter(self._windows))]
        return 0.0 if count < self._most else began + WINDOW_S - now
