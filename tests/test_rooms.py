"""The rooms: each imports only what the design lets it, and nothing hides pymilter's own modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "retour_bounces": set(),
    "retour_policy": {"retour_bounces"},
    "retour_milter": {"retour_policy"},
    "retour_lmtpd": {"retour_policy", "retour_bounces"},
    "retour_courier": {"retour_policy"},
    "retour_web": {"retour_policy"},
    "retour_cli": {"retour_bounces", "retour_policy", "retour_milter", "retour_lmtpd", "retour_courier", "retour_web"},
}
FILES = sorted(path for path in ROOT.glob("*/retour_*/**/*.py"))


def imported(path: Path) -> set[str]:
    """All modules that a file imports, wherever in it, by their full names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            assert path == ROOT / "cli/retour_cli/main.py", f"{path}: an import that cannot be read here"
    return found


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[1]


def module(name: str) -> Path:
    """A module of the policy room."""
    return ROOT / "policy/retour_policy" / (name.replace(".", "/") + ".py")


def test_all_rooms_are_looked_at() -> None:
    """Each package is one that the design names, and there is at least one file of each that exists."""
    assert {room(path) for path in FILES} <= set(MAY_IMPORT) and len(FILES) > 50
    assert {"retour_bounces", "retour_policy", "retour_milter", "retour_lmtpd", "retour_cli"} <= {
        room(p) for p in FILES
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_the_ways_of_the_design(path: Path) -> None:
    """No room imports one that it may not."""
    used = {name.partition(".")[0] for name in imported(path)}
    ours = {name for name in used if name.startswith("retour_")} - {room(path)}
    assert ours <= MAY_IMPORT[room(path)]
    assert not used & {"lab", "tests", "pytest"}


def test_decide_imports_none_of_the_others() -> None:
    """The pure core: neither the store nor the configuration nor the clock."""
    for name in ("core.decide",):
        used = imported(module(name))
        assert {one.partition(".")[0] for one in used} <= {"__future__", "collections", "dataclasses", "typing"}


def test_the_pure_modules_touch_neither_store_nor_system() -> None:
    """Tokens, patterns, addresses and attribution are functions of what they are given."""
    for name in (
        "tokens.token",
        "tokens.verp",
        "address",
        "messages.attribution",
        "sanitize",
        "core.decide",
        "core.fold",
        "core.presets",
        "core.storm",
        "core.forecast",
    ):
        used = {one.partition(".")[0] for one in imported(module(name))}
        assert not used & {"sqlalchemy", "os", "pathlib", "time", "socket", "structlog", "threading"}, name


def test_one_module_imports_pymilter() -> None:
    """Everything else works, and can be tested, without it."""
    users = [path for path in FILES if {"Milter", "milter"} & {name.partition(".")[0] for name in imported(path)}]
    assert [str(path.relative_to(ROOT)) for path in users] == ["milter/retour_milter/adapter.py"]


def test_nothing_hides_pymilters_modules() -> None:
    """No package `milter` or `mime` of ours, at the root or among the tests."""
    for folder in ("milter", "tests/milter", "tests", "policy", "lmtpd", "cli", "bounces", "courier"):
        assert not (ROOT / folder / "__init__.py").exists(), folder
    ours = [path for path in ROOT.glob("**/mime.py") if ".venv" not in path.parts]
    ours += [path for path in ROOT.glob("**/milter.py") if path.parent.name not in ("services", "site-packages")]
    assert not [path for path in ours if "site-packages" not in path.parts]


def test_the_extension_is_found_from_the_root(tmp_path: Path) -> None:
    """`python -m pytest` puts the root on sys.path; `import milter` still is pymilter's extension."""
    (tmp_path / "test_it.py").write_text(
        "def test_it():\n    import milter, Milter, retour_milter.adapter\n"
        "    assert milter.__file__.endswith('.so') and milter.main\n"
        f"    import sys; assert {str(ROOT)!r} in sys.path or '' in sys.path\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        ROOT,
        tmp_path / "test_it.py",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_and_functions_are_short() -> None:
    """Files are divided by duty, which seldom takes over 300 lines; functions have at most 45."""
    for path in FILES:
        if "migrations" in path.parts:
            continue
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                assert node.end_lineno - node.lineno < 45, f"{path}:{node.name}"
