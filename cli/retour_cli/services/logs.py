"""Logs: how a service writes them: one line per event on standard error, in colour on a terminal.

Under systemd the journal adds time and service, and learns the priority from the line's start (sd-daemon(3)); elsewhere
the line has time, service and process itself. To log never raises and never blocks, whatever has become of standard
error: a `LogWriter` writes.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from retour_cli.output import printable
from retour_cli.services import log_line
from retour_cli.services.log_writer import LogWriter

IDENTIFIER_VARIABLE = "RETOUR_IDENTIFY"  # set by `retour serve`, all of whose services have one name in the journal

log = structlog.get_logger()

Hash = Callable[[str], str]


class _Addresses:
    """Whether addresses are logged, or what stands for them."""

    hashed: Hash | None = None


_addresses = _Addresses()


def set_up(service: str) -> Callable[[], object]:
    """Configure structlog and `sys.stderr` for this process, which is `service`: "retour-milter".

    Returns what writes the last lines, for a process that ends by `os._exit`; any other end does so by itself.
    """
    descriptor = _descriptor()
    writer = LogWriter(descriptor, _tell_dropped)
    structlog.configure(
        processors=[_Renderer(_processors(service, descriptor))],
        logger_factory=lambda *_: _Logger(writer),
        cache_logger_on_first_use=True,
    )
    if sys.stderr is None or descriptor is not None:
        sys.stderr = _StandardError(writer)  # for what Python and libraries print there: it could block, too
    writer.start()
    atexit.register(writer.close)
    return writer.close


def hash_addresses(hashed: Hash | None) -> None:
    """From now on log what `hashed` makes of an address in its place; None: log addresses."""
    _addresses.hashed = hashed


def _descriptor() -> int | None:
    """That of standard error; None if it was closed when the process began, for it may be anything by now."""
    with contextlib.suppress(OSError):  # it may be no file, where a caller captures it
        return sys.stderr.fileno() if sys.stderr is not None else None
    return None


def _is_journal(descriptor: int | None) -> bool:
    """Whether that is the journal's own stream: $JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    if descriptor is None:
        return False
    with contextlib.suppress(OSError):
        about = os.fstat(descriptor)
        return os.environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"
    return False


def _tell_dropped(count: int) -> None:
    log.warning("log lines dropped", count=count)


def _processors(service: str, descriptor: int | None) -> Sequence[Processor]:
    first = (structlog.processors.format_exc_info, _printable)
    if descriptor is not None and os.isatty(descriptor):
        return (
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *first,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        )
    name = f"{service}[{os.getpid()}]: "
    if _is_journal(descriptor):
        return (*first, _journal_renderer(name if IDENTIFIER_VARIABLE in os.environ else ""))
    return (structlog.processors.TimeStamper(fmt="iso", utc=True), *first, _file_renderer(name))


def _journal_renderer(name: str) -> Processor:
    def rendered(logger: Any, method: str, event: EventDict) -> str:
        return f"<{log_line.PRIORITIES.get(method, 6)}>{name}{log_line.text_of(method, event)}"

    return rendered


def _file_renderer(name: str) -> Processor:
    def rendered(logger: Any, method: str, event: EventDict) -> str:
        return f"{event.pop('timestamp')} {name}{log_line.text_of(method, event)}"

    return rendered


def _printable(logger: Any, method: str, event: EventDict) -> Mapping[str, Any]:
    made = log_line.without_tokens(log_line.made_visible(event))
    return log_line.without_addresses(made, _addresses.hashed) if _addresses.hashed else made


class _Renderer:
    """Makes one line of an event. A value that cannot be printed costs its event the values, and nobody more."""

    def __init__(self, processors: Sequence[Processor]) -> None:
        self._processors = processors

    def __call__(self, logger: Any, method: str, event: EventDict) -> str:
        name, made = event.get("event"), event
        try:
            for process in self._processors:
                made = process(logger, method, made)  # type: ignore[assignment]
        except Exception as error:
            return f"{method}: {printable(str(name))}: not_printable={type(error).__name__}"
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
