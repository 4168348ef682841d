"""What all rooms' tests share: a folder that Postfix may enter."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.process import workspace


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder with a short path that other users may pass through."""
    with workspace() as path:
        yield path
