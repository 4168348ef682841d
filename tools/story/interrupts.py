"""Interrupts: Ctrl-C and the like end the demo, but never while something is being started or stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Turns the signals that ask the demo to end into `KeyboardInterrupt`."""

    def __init__(self) -> None:
        self._held = False
        self._waiting = False
        _handle(self._take)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Defer interrupts until the block is done."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt

    def _take(self, *_: object) -> None:
        if not self._held:
            raise KeyboardInterrupt
        self._waiting = True


def shielded(work: Callable[[Interrupts], int]) -> int:
    """Do `work` in a process that alone gets the signals, out of the terminal's reach; its exit status.

    A terminal sends Ctrl-C to all programs in the foreground, and would break a half-started Postfix.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until both know what to do with them
    worker = os.fork()
    if not worker:
        os.setsid()
        interrupts = Interrupts()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return work(interrupts)
    _handle(lambda number, _: _pass_on(worker, number))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])


def _handle(handler: Callable[[int, object], None]) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _pass_on(worker: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(worker, number)
