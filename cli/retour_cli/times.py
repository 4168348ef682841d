"""Times: what a person means by a point in time on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import click

from retour_policy.clock import DAY, HOUR, MINUTE

_AGO = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": MINUTE, "h": HOUR, "d": DAY}


def parse_since(text: str, now: int) -> int:
    """The time that `text` means: a duration before `now`, or an ISO 8601 date or time, in UTC if it names no zone.

    All times are milliseconds since 1970. Raises `click.BadParameter`.
    """
    found = _AGO.fullmatch(text)
    if found:
        return now - int(found[1]) * _UNITS[found[2]]
    try:
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is not a time; for example 2h, 3d or 2026-01-31T12:00") from None
