"""Watchdog: looks whether a service still works, and pings the service manager only then (WATCHDOG=1, sd_notify(3)).

A manager that hears nothing starts the service again. That helps where something hangs. Where the store answers, but
with errors, a restart harms: no service starts without a store, and then all mail hears 451, from outside too, while
one that runs answers what needs no store, and goes on by itself when the store is back. So then it pings, and tells.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from retour_cli.services.condition import Condition
from retour_cli.services.sd_notify import notify, watchdog_s
from retour_policy.errors import StoreUnavailable
from retour_policy.store.writer import Writer

DEFAULT_INTERVAL_S = 60.0  # between looks, where no manager expects to hear of them
LOOKS_PER_PING_EXPECTED = 3.0  # a look takes as long as the pause before it, at most
STORE = "store"

Probe = Callable[[], Future[None]]
"""Asks a part of the service for a sign of life; the future is done when it came."""


def in_loop(loop: asyncio.AbstractEventLoop) -> tuple[str, Probe]:
    """A probe of an event loop: it comes to run something new."""
    return "the event loop does not turn", lambda: asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop)


class Watchdog:
    """Of one service: a thread that looks, and pings if the service works."""

    def __init__(self, writer: Writer, condition: Condition, probes: Sequence[tuple[str, Probe]] = ()) -> None:
        """`probes` are asked besides the writer, each with what to say if it stays silent."""
        self._writer = writer
        self._condition = condition
        self._probes = probes
        self._expected_s = watchdog_s()
        self._interval_s = (self._expected_s or DEFAULT_INTERVAL_S * LOOKS_PER_PING_EXPECTED) / LOOKS_PER_PING_EXPECTED

    def start(self) -> None:
        """Look from now on. The thread takes no signals: those of a service wait for the thread that handles them."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            threading.Thread(target=self._run, name="watchdog", daemon=True).start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def look(self) -> bool:
        """Whether nothing hangs, within the pause between two looks; what does, and a store with errors, is told."""
        return self._store_answers() and all(self._answers(words, probe()) for words, probe in self._probes)

    def _run(self) -> None:
        while True:
            time.sleep(self._interval_s)
            if self.look() and self._expected_s:
                notify("WATCHDOG=1")

    def _answers(self, words: str, sign: Future[None]) -> bool:
        try:
            sign.result(self._interval_s)
        except TimeoutError:
            sign.cancel()
            self._condition.trouble(words, words)
            return False
        self._condition.trouble(words, "")
        return True

    def _store_answers(self) -> bool:
        """A transaction that does nothing goes the way of all others: queue, writer's thread, lock, database."""
        try:
            answers = self._answers("the store does not answer", self._writer.submit(lambda connection: None))
        except StoreUnavailable as error:
            self._condition.trouble(STORE, f"the store is down: {error}")
            return True
        self._condition.trouble(STORE, "")
        return answers
