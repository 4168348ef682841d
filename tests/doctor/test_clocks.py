"""Clocks: a host whose clock differs from the database server's is told so."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import stores
from lab.cluster import Cluster
from lab.process import workspace
from lab.site import retour
from retour_cli.context import Context
from retour_cli.doctor import inside
from retour_policy.clock import HOUR


@pytest.fixture
def configuration(folder: Path) -> Iterator[Path]:
    """One whose store is on a database server."""
    made = retour("init", "--dir", folder / "retour", "--domain", "bounces.example.com")
    assert made.returncode == 0, made.stderr
    with workspace() as data, Cluster(data / "postgres") as server:
        server.make_template()
        with stores.on(server):
            stores.move(folder / "retour/retour.toml")
            yield folder / "retour/retour.toml"


def said(configuration: Path, hours: int) -> str:
    """What is found where this host's clock is off by so many hours."""
    off = int(time.time() * 1000) + hours * HOUR - int(time.monotonic() * 1000)
    context = Context(configuration, clock=lambda: off + int(time.monotonic() * 1000))
    return "".join(one.text for one in inside._store(context, deep=False) if one.name == "clock-differs")


def test_the_clock_of_a_host_that_differs(configuration: Path) -> None:
    """By an hour either way; where it agrees, nothing is said."""
    assert re.search(r"(3599|3600|3601) s ahead of", said(configuration, 1))
    assert re.search(r"(3599|3600|3601) s behind", said(configuration, -1))
    assert said(configuration, 0) == ""
