"""The command that `make install` makes: it names an environment that belongs to a Python that has gone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

WRAPPER = Path(__file__).parents[2] / "systemd/retour.sh"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment as venv makes it, with a Python that prints what it is asked to run."""
    python = tmp_path / "usr/python3.11"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    home = tmp_path / "retour"
    (home / "bin").mkdir(parents=True)
    (home / "bin/python3").symlink_to(python)
    (home / "lib/python3.11/site-packages/retour_cli").mkdir(parents=True)
    return home


def run(home: Path) -> subprocess.CompletedProcess[str]:
    argv = [WRAPPER, "check", "--json"]
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, env=os.environ | {"RETOUR_HOME": str(home)}
    )


def test_it_runs_retour_and_heeds_no_other_python(environment: Path) -> None:
    """With the arguments that it was given, isolated from what the environment says of Python."""
    assert run(environment).stdout == "-I -m retour_cli check --json\n"


@pytest.mark.parametrize("after", ["another Python", "no Python", "no environment"])
def test_a_python_that_has_gone_is_named_in_one_sentence(environment: Path, after: str) -> None:
    """An upgrade of the system brought another one: exit status 78, what happened, and what to run."""
    python = environment / "bin/python3"
    if after == "another Python":
        python.resolve().rename(python.resolve().with_name("python3.13"))
        python.unlink()
        python.symlink_to(environment.parent / "usr/python3.13")
    elif after == "no Python":
        python.resolve().unlink()
    else:
        python.unlink()
    done = run(environment)
    assert done.returncode == 78 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "was made for another Python" in done.stderr and "`make install`" in done.stderr
