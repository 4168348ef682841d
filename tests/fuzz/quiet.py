"""Quiet: fuzz targets log nothing; what would be logged as an error is a fault of the code."""

from __future__ import annotations

import logging
import traceback
from collections.abc import MutableMapping
from typing import Any, NoReturn

import structlog

faults: list[str] = []
"""The errors that would have been logged."""


def logs() -> None:
    """Log nothing, and keep errors in `faults`."""
    structlog.configure(processors=[_drop])
    logging.disable(logging.WARNING)
    logging.getLogger().addHandler(_Keep())


def assert_no_fault() -> None:
    """Raise `AssertionError` if an error would have been logged since the last call."""
    found, faults[:] = list(faults), []
    assert not found, found


class _Keep(logging.Handler):
    """Keeps what libraries log as an error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, with its cause."""
        faults.append(f"{record.getMessage()} {record.exc_info}")


def _drop(logger: Any, level: str, event: MutableMapping[str, Any]) -> NoReturn:
    if level in ("error", "exception", "critical"):
        faults.append(f"{event} {traceback.format_exc()}")
    raise structlog.DropEvent
