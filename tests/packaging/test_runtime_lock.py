"""What a package or `make install` installs is what was tested: the pins of tools/python.lock, each with its hashes."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib

import pytest

import runtime_lock

LOCK = runtime_lock.ROOT / "tools/python.lock"


def names(text: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))


def test_only_what_retour_needs_is_installed_and_all_of_it() -> None:
    """Its dependencies and theirs, as the installed packages state them; nothing that only tests need."""
    script = runtime_lock.ROOT / "tools/runtime_lock.py"
    printed = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    chosen = names(printed)
    assert {"sqlalchemy", "pymilter", "aiosmtpd", "greenlet"} - {"greenlet"} <= chosen
    assert not chosen & {"pytest", "mypy", "ruff", "hypothesis", "pytest-xdist"}
    for name in chosen:
        try:
            wanted = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another Python or system
        for line in wanted:
            required = re.match(r"[A-Za-z0-9._-]+", line)
            plain = ";" not in line
            assert required and (not plain or re.sub(r"[-_.]+", "-", required[0]).lower() in chosen), (name, line)


def test_every_pin_and_hash_stays() -> None:
    """The part is made of the lock file's own lines."""
    lock = LOCK.read_text("utf-8")
    project = tomllib.loads((runtime_lock.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for one in runtime_lock.needed(runtime_lock.parse(lock), runtime_lock.direct_dependencies(project)):
        assert one.text in lock and "--hash=sha256:" in one.text


def test_a_dependency_that_is_not_pinned_is_an_error() -> None:
    """A package is not built of what was never tested."""
    with pytest.raises(ValueError, match="not in the lock file: nothing-of-that-name"):
        runtime_lock.needed(runtime_lock.parse(LOCK.read_text("utf-8")), ["nothing-of-that-name"])
