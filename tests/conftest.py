"""What all rooms' tests share: a folder that Postfix may enter, and the kinds of store that they run on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import stores
from lab.cluster import Cluster
from lab.process import workspace
from retour_cli.privileges import find_owner

ROOT = Path(__file__).parent
ON_BOTH = (
    "courier/test_resends.py",
    "lmtpd/test_backend.py",
    "milter/test_backend.py",
    "policy/core/test_counting.py",
    "policy/test_erasure.py",
    "policy/test_outbox.py",
    "policy/test_record.py",
)
"""Modules whose tests `make test` runs on both stores; `make test-postgresql` runs all others on PostgreSQL as well."""
STORE_ROOMS = ("policy", "milter", "lmtpd", "courier")


def pytest_addoption(parser: pytest.Parser) -> None:
    """On which store tests run."""
    parser.addoption(
        "--store", choices=("usual", "postgresql"), default="usual", help="on PostgreSQL alone, or as usual"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse a temporary folder of another user's: run by root, the commands under test would become that user."""
    if os.geteuid() == 0 and (owner := find_owner([Path(tempfile.gettempdir())])):
        pytest.exit(f"{owner.place} belongs to {owner}; as root, run the tests with TMPDIR=/tmp", 4)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that can be on PostgreSQL there too, or only there."""
    kinds = _kinds(metafunc)
    if kinds != ["sqlite"]:
        metafunc.parametrize("store_kind", kinds, indirect=True)


def _kinds(metafunc: pytest.Metafunc) -> list[str]:
    module = str(metafunc.definition.path.relative_to(ROOT))
    only_sqlite = metafunc.definition.get_closest_marker("sqlite") or "database" in metafunc.fixturenames
    if only_sqlite or module.partition("/")[0] not in STORE_ROOMS:
        return ["sqlite"]
    if metafunc.config.getoption("--store") == "postgresql":
        return ["postgresql"]
    return ["sqlite", "postgresql"] if module in ON_BOTH else ["sqlite"]


@pytest.fixture(autouse=True)
def store_kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kind of store that the lab makes for this test."""
    kind = getattr(request, "param", "sqlite")
    if kind == "sqlite":
        yield kind
        return
    with stores.on(request.getfixturevalue("cluster")):
        yield kind


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A private PostgreSQL server, shared by all tests of this process, and a template for their databases."""
    with workspace() as folder, Cluster(folder / "postgres") as cluster:
        cluster.make_template()
        yield cluster


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder with a short path that other users may pass through."""
    with workspace() as path:
        yield path
