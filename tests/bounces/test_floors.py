"""The floors of the bounces room: each knows only those below it, and no reader knows another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[2] / "bounces/retour_bounces"
FLOORS = ("once", "report", "phrases", "message", "classify", "prose", "readers", "read")
"""From the ground up; a file stands on the floor of its name or of its folder."""
ROOF = {"evidence": "read", "unrecognised": "read", "__init__": "roof"}
"""Files that only use the others, and the floor that they stand beside."""
SHARED_BY_READERS = {"view", "dsn_fields"}
"""Files of the readers' floor that readers may import."""
FILES = sorted(ROOM.rglob("*.py"))


def name_of(path: Path) -> tuple[str, ...]:
    """A file as the parts of its module's name behind the package's."""
    return path.relative_to(ROOM).with_suffix("").parts


def height(name: tuple[str, ...]) -> int:
    """On which floor a module stands."""
    floor = ROOF.get(name[0], name[0])
    return len(FLOORS) if floor == "roof" else FLOORS.index(floor)


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """What a file imports of this package, as `name_of` has it; of packages the module that is meant."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, *rest = name.split(".")
            if first == ROOM.name:
                yield tuple(rest)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOM)))
def test_imports_go_down(path: Path) -> None:
    """A file imports from its own floor and those below it; of the files at the top none imports another."""
    own = name_of(path)
    for name in imported(path):
        assert height(name) <= height(own), f"{'.'.join(own)} imports {'.'.join(name)}"
        assert name[0] == own[0] or height(name) < height(own), f"{'.'.join(own)} imports {'.'.join(name)}"


@pytest.mark.parametrize("path", sorted((ROOM / "readers").glob("*.py")), ids=lambda path: path.stem)
def test_no_reader_imports_another(path: Path) -> None:
    """What two of them need is in the view, or on a floor below."""
    used = {name[1] for name in imported(path) if name[0] == "readers"}
    assert used <= SHARED_BY_READERS


def test_every_reader_is_asked() -> None:
    """read.py names each file that has a reader."""
    asked = {name[1] for name in imported(ROOM / "read.py") if name[0] == "readers"}
    assert asked == {path.stem for path in (ROOM / "readers").glob("*.py")} - {"__init__", "dsn_fields"}
