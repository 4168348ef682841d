"""Condition: what a service tells of itself: to the service manager, and to `retour check` by its run record."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from retour_cli.context import Context
from retour_cli.output import printable
from retour_cli.services.run_record import RecordFile, RunRecord
from retour_cli.services.sd_notify import notify, reloading
from retour_policy.clock import time_text

MAX_STATUS_CHARACTERS = 500


class Condition:
    """Of one service, which is one process. May be told from any thread."""

    def __init__(self, service: str, context: Context) -> None:
        self._clock = context.clock
        self._lock = threading.Lock()
        self._file = RecordFile(service, context.config)
        self._record = RunRecord(service, os.getpid(), str(context.path.absolute()), context.digests, self._clock())
        self._trouble: dict[str, str] = {}

    def ready(self) -> None:
        """It has begun to work."""
        with self._lock:
            self._tell("READY=1")

    def stopping(self) -> None:
        """It takes no more work."""
        self._file.remove()
        notify("STOPPING=1")

    def reloading(self) -> None:
        """It begins to read the configuration again; `took` or `kept` ends that."""
        notify(*reloading())

    def took(self, digests: Mapping[str, str], until_restart: Sequence[str]) -> None:
        """It works with a configuration that it has just read, but for some keys."""
        with self._lock:
            self._record = replace(
                self._record,
                digests=dict(digests),
                read_at=self._clock(),
                refused="",
                until_restart=tuple(until_restart),
            )
            self._tell("READY=1")

    def kept(self, problem: str) -> None:
        """It works on with the configuration that it had, for there is a problem in the new one."""
        with self._lock:
            self._record = replace(self._record, refused=problem)
            self._tell("READY=1")

    def trouble(self, about: str, text: str) -> None:
        """There is trouble about something; "" says that there is none any more."""
        with self._lock:
            if text == self._trouble.get(about, ""):
                return
            self._trouble[about] = text
            self._tell()

    def has_trouble(self, about: str) -> bool:
        """Whether there is any about that."""
        return bool(self._trouble.get(about))

    def _tell(self, *states: str) -> None:
        self._file.write(self._record)
        notify(*states, f"STATUS={printable(self._words())[:MAX_STATUS_CHARACTERS]}")

    def _words(self) -> str:
        parts = [text for text in self._trouble.values() if text]
        parts.append(f"configuration read {time_text(self._record.read_at)} UTC")
        if self._record.refused:
            parts.append(f"a newer one was refused: {self._record.refused}")
        return "; ".join(parts)
