"""Log line: one event of a service as one line, so that what a postmaster greps for is found.

    4bXyzZ1kQz: recipient withheld: stream=newsletter recipient=anna@example.org cause="mailbox full"

The queue id comes first, as in Postfix's own lines; then how bad it is, unless it is no trouble; then the event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from structlog.processors import LogfmtRenderer
from structlog.typing import EventDict

from retour_cli.output import printable

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Of syslog, by the name of the level (RFC 5424 section 6.2.1)."""
NO_QUEUE_ID = "NOQUEUE"  # Postfix's own word for a message that is not in its queue (yet)

_PAIRS = LogfmtRenderer(bool_as_flag=False)
_TOKEN = re.compile(r"([a-z2-7]{14})[a-z2-7]{16,}", re.IGNORECASE)  # retour_policy.tokens.token: what it is, its MAC
_ADDRESS = re.compile(r"[^\s<>\"'(),;:=]+@[^\s<>\"'(),;:=\]]+")


def text_of(level: str, event: EventDict) -> str:
    """The line, without time and process. A value of None is left out."""
    values = {name: value for name, value in event.items() if value is not None}
    name = values.pop("event", "")
    queue_id = values.pop("queue_id", "") if "queue_id" in event else None
    start = "" if queue_id is None else f"{queue_id or NO_QUEUE_ID}: "
    trouble = "" if level in ("info", "debug") else f"{level}: "
    pairs = _PAIRS(None, "", values)
    return f"{start}{trouble}{name}: {pairs}" if pairs else f"{start}{trouble}{name}"


def made_visible(event: Mapping[str, Any]) -> dict[str, Any]:
    """Addresses come from outside: control characters, and what could look like a log line, are escaped."""
    return {name: _visible(name, value) if isinstance(value, str) else value for name, value in event.items()}


def without_tokens(event: Mapping[str, Any]) -> dict[str, Any]:
    """Each token without its signature: nobody who reads the log can use it, and what it names can still be found."""
    return {name: _TOKEN.sub(r"\1...", value) if isinstance(value, str) else value for name, value in event.items()}


def without_addresses(event: Mapping[str, Any], hashed: Callable[[str], str]) -> dict[str, Any]:
    """`hashed` of each address in place of it, wherever it stands in a text."""
    return {
        name: _ADDRESS.sub(lambda found: hashed(found.group()), value) if isinstance(value, str) else value
        for name, value in event.items()
    }


def _visible(name: str, text: str) -> str:
    return "\n".join(map(printable, text.split("\n"))) if name == "exception" else printable(text)
