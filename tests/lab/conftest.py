"""A workspace, a destination and a private Postfix without Retour, for the lab's own tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.destination import Destination
from lab.postfix import PrivatePostfix
from lab.process import workspace

WITHOUT_MILTER = {"smtpd_milters": "", "non_smtpd_milters": ""}


@pytest.fixture
def folder() -> Iterator[Path]:
    with workspace() as path:
        yield path


@pytest.fixture
def destination() -> Iterator[Destination]:
    with Destination() as server:
        yield server


@pytest.fixture
def postfix(folder: Path, destination: Destination) -> Iterator[PrivatePostfix]:
    """Relays example.net to the destination, and takes mail for example.com from outsiders."""
    with PrivatePostfix(
        folder / "postfix",
        main=WITHOUT_MILTER,
        destinations={"example.net": destination.hop, "example.com": destination.hop},
        inbound=["example.com"],
        users={"news": "secret"},
    ) as server:
        destination.return_port = server.smtp_port
        yield server
