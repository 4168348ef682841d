"""Logs: how a service writes them: one line per event, logfmt on standard error, or in colour on a terminal."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from retour_cli.output import printable


def set_up() -> None:
    """Configure structlog for this process."""
    terminal = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _made_visible,
            renderer,
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _made_visible(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Addresses come from outside: control characters, and what could look like a log line, are escaped."""
    return {name: _visible(name, value) if isinstance(value, str) else value for name, value in event.items()}


def _visible(name: str, text: str) -> str:
    return "\n".join(map(printable, text.split("\n"))) if name == "exception" else printable(text)
