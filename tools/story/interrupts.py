"""Interrupts: Ctrl-C and its like end the demo, but never while something is being started or stopped."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Turns the signals that ask us to end into `KeyboardInterrupt`."""

    def __init__(self) -> None:
        self._held = False
        self._waiting = False
        for number in SIGNALS:
            signal.signal(number, self._take)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Put interrupts off until the block is done.

        A terminal sends Ctrl-C to every program in the foreground, so those that are started meanwhile must
        not get it either: they inherit that it is blocked.
        """
        self._held = True
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._held = False
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt

    def _take(self, *_: object) -> None:
        if not self._held:
            raise KeyboardInterrupt
        self._waiting = True
