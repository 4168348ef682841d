"""Version: which Retour this is, in a checkout with the commit."""

from __future__ import annotations

import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

GIT_TIMEOUT_S = 5


def version_text(folder: Path = Path(__file__).parents[2]) -> str:
    """`0.2.0`, or in a checkout `0.2.0 (commit a2c9107, modified)`. `folder` contains the room `cli`, if any."""
    if not (folder / ".git").exists() or not (folder / "pyproject.toml").is_file():
        return metadata.version("retour")
    version = _version_of(folder)  # the metadata of an editable install can be older than the checkout
    commit = _git(folder, "rev-parse", "--short=7", "HEAD")
    if not commit:
        return version
    modified = ", modified" if _git(folder, "status", "--porcelain", "--untracked-files=no") else ""
    return f"{version} (commit {commit}{modified})"


def _version_of(folder: Path) -> str:
    with (folder / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def _git(folder: Path, *words: str) -> str:
    """The output of git; empty without git, or if it refuses to read another user's checkout."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
