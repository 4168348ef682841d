"""Prints the part of tools/python.lock that Retour itself needs: what was tested, without what only tests need."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ONLY_FOR_TESTS = {"dev"}
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Pinned:
    """One package of the lock file, as it stands there."""

    name: str
    text: str
    wanted_by: frozenset[str]


def parse(lock: str) -> list[Pinned]:
    """The packages of a lock file as `tools/lock` writes it. Raises `ValueError` where it is of another form."""
    found = []
    for text in re.split(r"\n(?=[A-Za-z0-9])", lock.strip()):
        name, _, via = text.partition("# via")
        wanted_by = frozenset(line.strip(" #") for line in via.splitlines() if line.strip(" #"))
        if "==" not in name or not wanted_by:
            raise ValueError(f"not a pinned package, or not said what wants it: {text.splitlines()[0]}")
        found.append(Pinned(_normal(name), text, frozenset(map(_normal, wanted_by))))
    return found


def needed(pinned: Iterable[Pinned], directly: Iterable[str]) -> list[Pinned]:
    """Those named in `directly`, and what they need in turn."""
    by_name = {one.name: one for one in pinned}
    names = set(directly)
    if missing := names - by_name.keys():
        raise ValueError(f"not in the lock file: {', '.join(sorted(missing))}")
    while more := {one.name for one in by_name.values() if one.wanted_by & names} - names:
        names |= more
    return [one for one in by_name.values() if one.name in names]


def direct_dependencies(project: Mapping[str, object]) -> set[str]:
    """What pyproject.toml asks for, optional features included, but not what tests need."""
    listed = list(project["dependencies"])  # type: ignore[call-overload]
    extras: Mapping[str, list[str]] = project.get("optional-dependencies", {})  # type: ignore[assignment]
    for extra, names in extras.items():
        listed += [] if extra in ONLY_FOR_TESTS else names
    return {_normal(name) for name in listed}


def _normal(text: str) -> str:
    """The name at the beginning of a requirement, as PEP 503 compares names."""
    found = _NAME.match(text)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def main() -> None:
    """Print it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pinned = parse((ROOT / "tools/python.lock").read_text("utf-8"))
    sys.stdout.write("".join(one.text + "\n" for one in needed(pinned, direct_dependencies(project))))


if __name__ == "__main__":
    main()
