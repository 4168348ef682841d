"""What the tests of doctor and setup share: a configuration, and a Postfix that nothing runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lab.configurations import Made, configured, write_postfix
from lab.installation import find_installation
from lab.process import workspace
from retour_policy.config.model import Config


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path that others may pass."""
    with workspace() as path:
        yield path


@pytest.fixture(autouse=True)
def postfix_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the Postfix that the tests use."""
    installation = find_installation()
    monkeypatch.setenv("PATH", f"{installation.commands}:{os.environ['PATH']}")
    for name, value in installation.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def postfix(folder: Path) -> Made:
    """Makes a folder of Postfix's files, and reads it as postconf does: nothing is started."""
    return partial(write_postfix, folder / "etc")


@pytest.fixture
def config() -> Config:
    """One stream with a bounce domain of its own, and the system's sockets."""
    return configured()
