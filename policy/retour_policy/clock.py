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


def system_clock() -> int:
    """Milliseconds since 1970-01-01 UTC, by the machine's clock."""
    return time.time_ns() // 1_000_000


def day_text(at: int) -> str:
    """The UTC day of `at` (milliseconds), as 2026-01-31."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")


def time_text(at: int) -> str:
    """The UTC second of `at` (milliseconds), as 2026-01-31 23:59:59."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso_text(at: int) -> str:
    """The UTC millisecond of `at`, as 2026-01-31T23:59:59.000Z (RFC 3339)."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
