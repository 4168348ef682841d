"""Signals: those that would stop or end this process wait until its transactions are over.

A process that Ctrl-Z stops inside a transaction keeps the lock, and all mail waits for it. SIGKILL, SIGSTOP and SIGQUIT
are left alone: killing loses nothing, as an open transaction is rolled back.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from types import FrameType

STOPPING = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})

_gate = threading.RLock()  # re-entrant: the handler can interrupt a thread that holds it
_holds: Counter[int] = Counter()
_came: set[int] = set()


@contextlib.contextmanager
def held_back(numbers: frozenset[signal.Signals]) -> Iterator[None]:
    """Inside `deferring`: signals of these numbers take effect when no block, in any thread, holds them any more."""
    with _gate:
        _holds.update(numbers)
    try:
        yield
    finally:
        with _gate:
            _holds.subtract(numbers)
            due = {number for number in _came if not _holds[number]}
            _came.difference_update(due)
        for number in sorted(due):
            os.kill(os.getpid(), number)


@contextlib.contextmanager
def deferring() -> Iterator[None]:
    """Have the signals that `held_back` names wait. In the main thread only; elsewhere it does nothing.

    A signal that has a handler, or is ignored (nohup), stays as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: now for number in STOPPING | ENDING if (now := signal.getsignal(number)) in defaults}
    for number in before:
        signal.signal(number, _handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is _handle:
                signal.signal(number, handler)


def ignore_stops() -> None:
    """For a service: no terminal stops it, because mail would wait for it."""
    signal.signal(signal.SIGTSTP, lambda *_: None)  # so that what it starts is not affected
    for number in (signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)  # with a handler, what is written to the terminal would be tried for ever


def _handle(number: int, frame: FrameType | None) -> None:
    with _gate:  # so that no other thread takes the lock while this process stops
        if _holds[number] > 0:
            _came.add(number)
        elif number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)  # where it only stops, this returns when it goes on
            signal.signal(number, _handle)
