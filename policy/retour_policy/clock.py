"""Clock: where the time comes from, so that a test can set it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], int]
"""Returns milliseconds since 1970-01-01 UTC."""

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


MAX_AHEAD_MS = HOUR  # by which the clocks of two hosts may differ
MIN_JUMP_MS = MINUTE  # time servers correct less in small steps


def system_clock() -> int:
    """Milliseconds since 1970-01-01 UTC, by the machine's clock."""
    return time.time_ns() // 1_000_000


def steady_clock() -> int:
    """Milliseconds since some time, by a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def is_ahead(at: int, now: int) -> bool:
    """Whether `at` lies so far in the future that a clock which was ahead must have written it. Milliseconds."""
    return at > now + MAX_AHEAD_MS


class ClockWatch:
    """Notices when somebody sets the clock."""

    def __init__(self, clock: Clock, steady: Clock = steady_clock) -> None:
        self._clock, self._steady = clock, steady
        self._offset = clock() - steady()

    def jump(self) -> int:
        """By how many milliseconds it was set since the last call, negative: back; 0: hardly."""
        before, self._offset = self._offset, self._clock() - self._steady()
        jump = self._offset - before
        return jump if abs(jump) >= MIN_JUMP_MS else 0


def day_text(at: int) -> str:
    """The UTC day of `at` (milliseconds), as 2026-01-31."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")


def time_text(at: int) -> str:
    """The UTC second of `at` (milliseconds), as 2026-01-31 23:59:59."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso_text(at: int) -> str:
    """The UTC millisecond of `at`, as 2026-01-31T23:59:59.000Z (RFC 3339)."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
