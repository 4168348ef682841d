"""What the tests of the web room share: a service for a file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.process import workspace
from lab.web import WebService


@pytest.fixture(scope="module")
def web() -> Iterator[WebService]:
    """One for many tests, each of which has addresses of its own."""
    with workspace() as folder, WebService(folder) as service:
        yield service
