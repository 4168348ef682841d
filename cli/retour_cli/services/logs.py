"""Logs: how a service writes them: one line per event, logfmt on standard error, or in colour on a terminal.

To log never raises and never blocks, whatever has become of standard error: a `LogWriter` writes.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import structlog

from retour_cli.output import printable
from retour_cli.services.log_writer import LogWriter

log = structlog.get_logger()

Event = MutableMapping[str, Any]


def set_up() -> Callable[[], object]:
    """Configure structlog and `sys.stderr` for this process.

    Returns what writes the last lines, for a process that ends by `os._exit`; any other end does so by itself.
    """
    descriptor = _descriptor()
    writer = LogWriter(descriptor, _tell_dropped)
    structlog.configure(
        processors=[_Renderer(_processors(terminal=sys.stderr is not None and sys.stderr.isatty()))],
        logger_factory=lambda *_: _Logger(writer),
        cache_logger_on_first_use=True,
    )
    if sys.stderr is None or descriptor is not None:
        sys.stderr = _StandardError(writer)  # for what Python and libraries print there: it could block, too
    writer.start()
    atexit.register(writer.close)
    return writer.close


def _descriptor() -> int | None:
    """That of standard error; None if it was closed when the process began, for it may be anything by now."""
    with contextlib.suppress(OSError):  # it may be no file, where a caller captures it
        return sys.stderr.fileno() if sys.stderr is not None else None
    return None


def _tell_dropped(count: int) -> None:
    log.warning("log lines dropped", count=count)


def _processors(*, terminal: bool) -> Sequence[structlog.typing.Processor]:
    renderer = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
    )
    return (
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _made_visible,
        renderer,
    )


class _Renderer:
    """Makes one line of an event. A value that cannot be printed costs its event the values, and nobody more."""

    def __init__(self, processors: Sequence[structlog.typing.Processor]) -> None:
        self._processors = processors

    def __call__(self, logger: Any, method: str, event: Event) -> str:
        name, made = event.get("event"), event
        try:
            for process in self._processors:
                made = process(logger, method, made)  # type: ignore[assignment]
        except Exception as error:
            return f'level={method} event="{printable(str(name))}" not_printable={type(error).__name__}'
        return str(made)


class _Logger:
    """What structlog hands finished lines to."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def msg(self, line: str) -> None:
        """Log a line."""
        self._writer.put(line + "\n")

    log = debug = info = warning = error = critical = msg


class _StandardError(io.TextIOBase):
    """A `sys.stderr` that never blocks and never fails."""

    encoding = "utf-8"

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Take text. Raises `TypeError` for octets, by which click tells what kind of stream this is."""
        if not isinstance(text, str):
            raise TypeError("standard error takes text")
        if text:
            self._writer.put(text)
        return len(text)


def _made_visible(logger: Any, method: str, event: Event) -> Mapping[str, Any]:
    """Addresses come from outside: control characters, and what could look like a log line, are escaped."""
    return {name: _visible(name, value) if isinstance(value, str) else value for name, value in event.items()}


def _visible(name: str, text: str) -> str:
    return "\n".join(map(printable, text.split("\n"))) if name == "exception" else printable(text)
