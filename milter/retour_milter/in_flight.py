"""In flight: how many messages are in progress, so that a process that stops can wait for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

ANSWER_TIMEOUT_MS = 2_000  # that libmilter gets to send an answer: a thousand times what it needs
IDLE_TIMEOUT_MS = 5_000  # without a step of any message, after which those in progress are not waited for any longer


class InFlight:
    """How many messages are between MAIL and their end.

    libmilter sends an answer only after the callback that gave it has returned, and does not tell when. So a
    message that is `answered` still counts, until its connection shows by its next step that the answer was sent,
    or `ANSWER_TIMEOUT_MS` has passed.
    """

    def __init__(self) -> None:
        self._open = 0
        self._answered = 0
        self._last_answer = 0.0
        self._steps = 0
        """That are being answered now."""
        self._last_step = 0.0
        self._stopping = False
        self._changed = threading.Condition()

    def enter(self) -> bool:
        """A message begins; False if none may begin any more."""
        with self._changed:
            self._open += not self._stopping
            return not self._stopping

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step of a message is being answered: until the block ends, its client is not idle."""
        with self._changed:
            self._steps += 1
        try:
            yield
        finally:
            with self._changed:
                self._steps -= 1
                self._last_step = time.monotonic()
                self._changed.notify_all()

    def answered(self) -> None:
        """The last answer of a message is known and about to be sent."""
        with self._changed:
            self._open -= 1
            self._answered += 1
            self._last_answer = time.monotonic()
            self._changed.notify_all()

    def leave(self, *, answered: bool) -> None:
        """A message is over: its last answer was sent, or its client has disconnected."""
        with self._changed:
            if answered:
                self._answered -= 1
            else:
                self._open -= 1
            self._changed.notify_all()

    def drain(self, timeout: int) -> bool:
        """Let no more begin, and wait at most `timeout` milliseconds until none is in progress; whether none is.

        Clients that are silent within their messages are not waited for: the mail server sends those again.
        """
        with self._changed:
            self._stopping = True
            self._last_step = began = time.monotonic()
            while self._open and (rest := self._patience(began + timeout / 1000)) > 0:
                self._changed.wait(rest)
            done = self._open == 0
            rest = self._last_answer + ANSWER_TIMEOUT_MS / 1000 - time.monotonic()
            self._changed.wait_for(lambda: self._answered == 0, max(0.0, rest))
            return done

    def _patience(self, end: float) -> float:
        """How long to wait for a change: until `end`, and while no step is being answered, only for the next one."""
        if not self._steps:
            end = min(end, self._last_step + IDLE_TIMEOUT_MS / 1000)
        return end - time.monotonic()
