"""What all rooms' tests share: a folder that Postfix may enter."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.process import workspace
from retour_cli.privileges import find_owner


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse a temporary folder of another user's: run by root, the commands under test would become that user."""
    if os.geteuid() == 0 and (owner := find_owner([Path(tempfile.gettempdir())])):
        pytest.exit(f"{owner.place} belongs to {owner}; as root, run the tests with TMPDIR=/tmp", 4)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder with a short path that other users may pass through."""
    with workspace() as path:
        yield path
