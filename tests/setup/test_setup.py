"""What set-up installs is written down, pinned and hashed; it removes nothing and says why it needs root."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lab.process import workspace

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(?: ;[^\\]*)?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """The packages that a lock file pins with at least one hash, and their versions."""
    return {canonicalize_name(pin[1]): pin[2] for pin in PIN.finditer((TOOLS / name).read_text())}


@pytest.fixture
def folder() -> Iterator[Path]:
    with workspace() as path:
        yield path


@pytest.mark.parametrize("name", ["python.lock", "build.lock"])
def test_lock_files_pin_every_package_with_hashes_and_name_no_index(name: str) -> None:
    """Nothing is installed that was not looked at, and the lock files work with any package index."""
    text = (TOOLS / name).read_text()
    entries = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert entries
    assert len(pins(name)) == len(entries)
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host", text)


def test_lock_files_fit_what_pyproject_asks_for() -> None:
    """Fails if a requirement was added or raised without `make lock`."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    asked = {
        "python.lock": project["dependencies"] + project["optional-dependencies"]["dev"],
        "build.lock": pyproject["build-system"]["requires"],
    }
    for name, requirements in asked.items():
        for requirement in map(Requirement, requirements):
            version = pins(name).get(canonicalize_name(requirement.name))
            assert version, f"{requirement.name} is not in {name}"
            assert requirement.specifier.contains(version), requirement


def test_both_lock_files_agree() -> None:
    """A package that is needed to build and to run is installed once."""
    run, build = pins("python.lock"), pins("build.lock")
    assert {name: build[name] for name in run.keys() & build.keys()} == {
        name: run[name] for name in run.keys() & build.keys()
    }


def test_every_debian_package_has_its_reason() -> None:
    """One package a line, and why."""
    lines = [line for line in (TOOLS / "debian-packages").read_text().splitlines() if line[0] != "#"]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[a-z0-9.+-]+ +# \S.*", line), line


@pytest.fixture
def machine(folder: Path) -> Path:
    """A machine without our packages, where installing them would remove one; apt-get's calls are kept."""
    (folder / "apt-get").write_text(
        f'#!/bin/sh\necho "apt-get $*" >>{folder}/calls\necho "Remv their-mail-server [1.0]"\n'
    )
    (folder / "dpkg-query").write_text("#!/bin/sh\n")
    for program in ("apt-get", "dpkg-query"):
        (folder / program).chmod(0o755)
    return folder


def test_setup_stops_where_something_would_be_removed(machine: Path) -> None:
    """apt-get is only ever asked what it would do; the message names what would have gone, and what to do."""
    path = f"{machine}:/usr/bin:/bin"
    done = subprocess.run([TOOLS / "setup-debian"], env={"PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "would remove: their-mail-server" in done.stderr
    assert "Nothing was changed" in done.stderr
    calls = (machine / "calls").read_text().splitlines()
    assert calls
    assert all(call.startswith("apt-get -s ") for call in calls)


def test_without_root_and_without_sudo_the_reason_is_told(folder: Path) -> None:
    """A user who cannot become root is told why root is needed, and nothing is run."""
    shutil.copy(TOOLS / "as-root", folder)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", folder / "as-root", "touch", folder / "ran"],
        env={"PATH": str(only(folder / "bin", "bash", "env"))},
        executable=shutil.which("setpriv"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "because Postfix" in done.stderr
    assert not (folder / "ran").exists()


def only(folder: Path, *programs: str) -> Path:
    """A folder for PATH with these programs and no others."""
    folder.mkdir()
    for program in programs:
        (folder / program).symlink_to(str(shutil.which(program)))
    return folder
