"""Times on the command line: what is taken, and what is shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click
import pytest

from retour_cli.times import Times
from retour_policy.clock import DAY

NOW = int(datetime(2026, 1, 15, 12, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in Berlin: an hour ahead of UTC in winter, two in summer."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "utc", "local"),
    [
        ("now", NOW, NOW),
        ("2h", NOW - 2 * HOUR, NOW - 2 * HOUR),
        ("3d", NOW - 3 * DAY, NOW - 3 * DAY),
        ("2026-01-15T11:00", NOW - HOUR, NOW - 2 * HOUR),
        ("2026-01-15T11:00+02:00", NOW - 3 * HOUR, NOW - 3 * HOUR),
        ("2025-07-15T12:00", NOW - 184 * DAY, NOW - 184 * DAY - 2 * HOUR),
    ],
)
def test_a_time_is_in_utc_unless_asked_otherwise(text: str, utc: int, local: int) -> None:
    """A duration and a named zone mean the same everywhere; summer time is that of the day meant."""
    assert Times(NOW).parse(text) == utc
    assert Times(NOW, local=True).parse(text) == local


def test_what_is_no_time_is_refused_with_an_example() -> None:
    """And with the zone that would have been meant."""
    for text in ("yesterday", "2026-13-01", "5", "", "99999999d"):
        with pytest.raises(click.BadParameter, match=r"now, 2h, 3d or 2026-01-31T12:00 \(UTC\)"):
            Times(NOW).parse(text)


def test_a_time_of_another_year_shows_the_year() -> None:
    """Else January would look like eleven months ahead."""
    assert Times(NOW).short(NOW - HOUR) == "01-15 11:00"
    assert Times(NOW).short(NOW - 20 * DAY) == "2025-12-26 12:00"
    assert Times(NOW, local=True).short(NOW - 184 * DAY) == "2025-07-15 14:00"


def test_events_and_outbox_say_which_zone_they_show(office: Any) -> None:
    """In the head of the column, and by --tz."""
    office.bounced("anna@example.net")
    assert "at (UTC)" in office("events").stdout
    assert "at (local time)" in office("events", "--tz", "local", "--since", "1h").stdout
    assert "failure" in office("undo", "--since", "1h", "--until", "now", "--dry-run").stdout
