"""Log writer: a thread that writes what is logged, so that nobody who logs waits for its reader, or fails with it."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator

MAX_WAITING_OCTETS = 4_000_000  # that nobody has read yet; what comes then is dropped, and counted
MAX_WRITE_OCTETS = select.PIPE_BUF  # at a time: the kernel never mixes such writes of several processes, pipe(7)
GATHER_S = 0.005  # during which lines are gathered, so that a burst of them costs one turn of the thread
CLOSE_TIMEOUT_S = 2.0  # for what waits to be written when the process ends


class LogWriter:
    """Takes lines from any thread, and from code that runs within `put` itself (a finalizer that logs)."""

    def __init__(self, descriptor: int | None, tell_dropped: Callable[[int], None]) -> None:
        """Write to `descriptor` (None: drop all). `tell_dropped` logs how many lines were dropped."""
        self._descriptor = descriptor
        self._tell_dropped = tell_dropped
        self._changed = threading.Condition(threading.RLock())
        self._waiting: list[bytes] = []
        self._octets = 0
        self._dropped = 0
        self._is_cut = False
        """What was written last ended within a line."""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        """Begin to write. The thread takes no signals: those of a service wait for the thread that handles them."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def put(self, text: str) -> None:
        """Take text, whole lines as a rule. Never raises, never waits for the reader."""
        octets = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._octets > MAX_WAITING_OCTETS and threading.current_thread() is not self._thread:
                self._dropped += _lines(octets)
                return
            self._waiting.append(octets)
            self._octets += len(octets)
            if len(self._waiting) == 1:
                self._changed.notify()

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Write what waits, and stop; whether that took at most `timeout_s` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return
            if not self._closing:
                time.sleep(GATHER_S)
            self._write_waiting()

    def _write_waiting(self) -> None:
        with self._changed:
            waiting, self._waiting, self._octets = self._waiting, [], 0
        failed = sum(self._write(octets) for octets in _together(waiting))
        with self._changed:
            self._dropped += failed
            dropped = 0 if failed else self._dropped
            self._dropped -= dropped
        if dropped:
            self._tell_dropped(dropped)

    def _write(self, octets: bytes) -> int:
        """Write whole lines; how many could not be: the reader has gone, or the disk is full."""
        rest = b"\n" + octets if self._is_cut else octets
        try:
            while rest and self._descriptor is not None:
                rest = rest[os.write(self._descriptor, rest) :]
                self._is_cut = bool(rest)
        except OSError:
            pass
        return _lines(rest.removeprefix(b"\n"))


def _lines(octets: bytes) -> int:
    """How many lines that is, a part of one included."""
    return octets.count(b"\n") + (not octets.endswith(b"\n")) if octets else 0


def _together(parts: list[bytes]) -> Iterator[bytes]:
    """The same octets in as few parts as `MAX_WRITE_OCTETS` allows; a longer one stays whole."""
    gathered: list[bytes] = []
    size = 0
    for part in parts:
        if gathered and size + len(part) > MAX_WRITE_OCTETS:
            yield b"".join(gathered)
            gathered, size = [], 0
        gathered.append(part)
        size += len(part)
    yield b"".join(gathered)
