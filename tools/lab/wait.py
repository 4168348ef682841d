"""Waiting for something to become true, with a deadline and a clear error when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which an expected event will not come any more, even on a slow and busy machine."""
PAUSE = 0.01
"""Seconds between the first two attempts; doubles up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 0.1


def wait_until(
    probe: Callable[[], T | None],
    *,
    what: str,
    timeout: float = PATIENCE,
    seen: Callable[[], object] = lambda: "",
) -> T:
    """Ask `probe` until it answers something true, and return that.

    `what` says in the error what was waited for, `seen` what there was instead; `timeout` is in seconds.
    Raises `TimeoutError`.
    """
    deadline = time.monotonic() + timeout
    pause = PAUSE
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s in vain for {what}\n{seen()}")
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
