"""Times: what a person means by a point in time on the command line, and how one is shown to them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from retour_policy.clock import DAY, HOUR, MINUTE

_AGO = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": MINUTE, "h": HOUR, "d": DAY}

zone_option = click.option(
    "--tz",
    "zone",
    type=click.Choice(["utc", "local"]),
    default="utc",
    show_default=True,
    help="Give and show times in UTC, or in this machine's zone.",
)


@dataclass(frozen=True, slots=True)
class Times:
    """Times in one zone, as seen from now. All are milliseconds since 1970."""

    now: int
    local: bool = False

    @classmethod
    def of(cls, zone: str, clock: Callable[[], int]) -> Times:
        """By what `zone_option` gave."""
        return cls(clock(), zone == "local")

    @property
    def zone(self) -> str:
        """What to write behind a time or above a column of them."""
        return "local time" if self.local else "UTC"

    def parse(self, text: str) -> int:
        """The time that `text` means: `now`, a duration before now, or an ISO 8601 date or time.

        One that names no zone is in this one. Raises `click.BadParameter`.
        """
        if text == "now":
            return self.now
        found = _AGO.fullmatch(text)
        if found:
            return self.now - int(found[1]) * _UNITS[found[2]]
        try:
            at = datetime.fromisoformat(text)
            return int((at if at.tzinfo else self._here(at)).timestamp() * 1000)
        except (ValueError, OverflowError):
            hint = "for example now, 2h, 3d or 2026-01-31T12:00"
            raise click.BadParameter(f"{text!r} is not a time; {hint} ({self.zone})") from None

    def second(self, at: int) -> str:
        """As 2026-01-31 23:59:59."""
        return f"{self._shown(at):%Y-%m-%d %H:%M:%S}"

    def minute(self, at: int) -> str:
        """As 2026-01-31 23:59."""
        return f"{self._shown(at):%Y-%m-%d %H:%M}"

    def short(self, at: int) -> str:
        """As 01-31 23:59; of another year as 2025-01-31 23:59."""
        shown = self._shown(at)
        return f"{shown:%m-%d %H:%M}" if shown.year == self._shown(self.now).year else self.minute(at)

    def _here(self, at: datetime) -> datetime:
        return at.astimezone() if self.local else at.replace(tzinfo=UTC)

    def _shown(self, at: int) -> datetime:
        shown = datetime.fromtimestamp(at / 1000, UTC)
        return shown.astimezone() if self.local else shown
