"""In flight: how many messages are in progress, so that a process that stops can wait for them."""

from __future__ import annotations

import threading
import time

ANSWER_TIMEOUT_MS = 2_000  # that libmilter gets to send an answer: a thousand times what it needs


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
        self._stopping = False
        self._changed = threading.Condition()

    def enter(self) -> bool:
        """A message begins; False if none may begin any more."""
        with self._changed:
            self._open += not self._stopping
            return not self._stopping

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
        """Let no more begin, and wait at most `timeout` milliseconds until none is in progress; whether none is."""
        with self._changed:
            self._stopping = True
            done = self._changed.wait_for(lambda: self._open == 0, timeout / 1000)
            rest = self._last_answer + ANSWER_TIMEOUT_MS / 1000 - time.monotonic()
            self._changed.wait_for(lambda: self._answered == 0, max(0.0, rest))
            return done
