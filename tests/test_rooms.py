"""The rooms: each imports only what the design lets it, and nothing hides pymilter's own modules."""

from __future__ import annotations

import ast
import re
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
POLICY = sorted(ROOT.glob("policy/retour_policy/**/*.py"))
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts[1:]).removesuffix(".__init__") for path in FILES}
# What each wing of the policy room may import, the ground besides; docs/architecture.md draws it.
MAY_USE = {
    "ground": set(),
    "core": {"ground"},
    "tokens": {"ground"},
    "config": {"core", "tokens", "ground"},
    "store": {"core", "tokens", "ground"},
    "outbox": {"config", "store", "core", "ground"},
    "ledger": {"outbox", "config", "store", "core", "tokens", "ground"},
    "messages": {"ledger", "outbox", "store", "config", "core", "tokens", "ground"},
    "maintenance": {"ledger", "store", "config", "core", "tokens", "ground"},
    "erasure": {"ledger", "store", "core", "outbox", "ground"},
}
IMPURE = {"sqlalchemy", "sqlite3", "os", "pathlib", "time", "socket", "structlog", "subprocess", "threading"}
IS_PURE = re.compile(r"\bPure\.")  # so the docstring of such a module says, wherever it is
SQL_CALLS = {"execute", "exec_driver_sql", "scalar", "scalars"}
TELLS_TIME = ("id_time", "first_id")


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


def calls(path: Path) -> set[str]:
    """The names of all methods that a file calls."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.func.attr for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[1]


def modules_imported(path: Path) -> set[str]:
    """The modules among what a file imports: `from m import name` counts as m, and as m.name where that is one."""
    return {name for name in imported(path) if name in MODULES}


def test_all_rooms_are_looked_at() -> None:
    """Each package is one that the design names, and there is at least one file of each that exists."""
    assert {room(path) for path in FILES} <= set(MAY_IMPORT) and len(FILES) > 50
    assert {"retour_bounces", "retour_policy", "retour_milter", "retour_lmtpd", "retour_web", "retour_cli"} <= {
        room(p) for p in FILES
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_the_ways_of_the_design(path: Path) -> None:
    """No room imports one that it may not."""
    used = {name.partition(".")[0] for name in imported(path)}
    ours = {name for name in used if name.startswith("retour_")} - {room(path)}
    assert ours <= MAY_IMPORT[room(path)]
    assert not used & {"lab", "tests", "pytest"}


def wing(module: str) -> str:
    """The wing of the policy room that a module is in, or `ground`; "" for what is not of that room."""
    parts = module.split(".")
    if parts[0] != "retour_policy":
        return ""
    return parts[1] if len(parts) > 1 and parts[1] in MAY_USE else "ground"


def name_of(path: Path) -> str:
    """The full name of the module in a file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts[1:])


@pytest.mark.parametrize("path", POLICY, ids=name_of)
def test_each_wing_of_policy_imports_only_what_lies_below_it(path: Path) -> None:
    """The table of docs/architecture.md: messages stand on the ledger, the ledger on the store, all on the ground."""
    own = wing(name_of(path))
    used = {wing(name) for name in modules_imported(path)} - {"", own}
    assert used <= MAY_USE[own]


def is_pure(path: Path) -> bool:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return bool(IS_PURE.search(docstring)) or wing(name_of(path)) in ("core", "tokens")


PURE = [path for path in FILES if is_pure(path)]


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_what_is_pure_touches_neither_store_nor_system(path: Path) -> None:
    """Core, tokens, and each module that says so: functions of what they get. Only the key ring's file is read."""
    outside = {name.partition(".")[0] for name in imported(path)} & IMPURE
    assert outside <= ({"pathlib", "threading"} if path.name == "keyring.py" else set())


def test_what_was_pure_stays_so() -> None:
    """These have to say of themselves that they are, so that the test above looks at them."""
    assert {"retour_policy.address", "retour_policy.sanitize", "retour_policy.messages.attribution"} <= {
        name_of(path) for path in PURE
    }


def test_decide_imports_nothing_but_the_standard_library() -> None:
    """The pure heart: neither the store nor the configuration nor the clock."""
    used = imported(ROOT / "policy/retour_policy/core/decide.py")
    assert {one.partition(".")[0] for one in used} <= {"__future__", "collections", "dataclasses", "typing"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_store_speaks_sql(path: Path) -> None:
    """Adding a table or a database concerns the statements of one wing."""
    if wing(name_of(path)) == "store":
        return
    found = imported(path)
    assert "retour_policy.store.schema" not in found
    assert not {name for name in found if name.startswith("retour_policy.store.") and "._" in name}
    assert not {name for name in found if name.startswith("sqlalchemy.")} - {"sqlalchemy.Connection"}
    assert "sqlite3" not in found and ("sqlalchemy" in found) == ("sqlalchemy.Connection" in found)
    assert not calls(path) & SQL_CALLS


def test_of_the_tokens_the_store_uses_only_an_ids_time() -> None:
    """What is signed, and how, is none of its business."""
    for path in POLICY:
        if wing(name_of(path)) == "store":
            assert "retour_policy.tokens" not in imported(path), path
            used = {name for name in imported(path) if name.startswith("retour_policy.tokens.")}
            assert used <= {"retour_policy.tokens.token"} | {f"retour_policy.tokens.token.{n}" for n in TELLS_TIME}, (
                path
            )


def test_of_the_outbox_the_erasure_uses_only_the_spool() -> None:
    """An erased person's copies lie there; what waits in the outbox it finds by the store."""
    for path in POLICY:
        if wing(name_of(path)) == "erasure":
            used = {name for name in modules_imported(path) if name.startswith("retour_policy.outbox")}
            assert used <= {"retour_policy.outbox.spool"}, path


@pytest.mark.parametrize("package", ["retour_milter", "retour_lmtpd", "retour_web"])
def test_only_the_backend_touches_what_policy_does(package: str) -> None:
    """The other modules of a service translate a protocol: they know configuration, core and ground, no more."""
    for path in FILES:
        if room(path) == package and path.name != "backend.py":
            assert {wing(name) for name in modules_imported(path)} <= {"", "config", "core", "ground"}, path


def test_one_module_imports_pymilter() -> None:
    """Everything else works, and can be tested, without it."""
    users = [path for path in FILES if {"Milter", "milter"} & {name.partition(".")[0] for name in imported(path)}]
    assert [str(path.relative_to(ROOT)) for path in users] == ["milter/retour_milter/adapter.py"]


def test_nothing_hides_pymilters_modules() -> None:
    """No package `milter` or `mime` of ours, at the root or among the tests."""
    for folder in ("milter", "tests/milter", "tests", "policy", "lmtpd", "web", "cli", "bounces", "courier"):
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
    """Files are divided by duty, which seldom takes over 300 lines and never 450; functions have at most 45."""
    for path in FILES:
        if "migrations" in path.parts:
            continue
        text = path.read_text()
        assert text.count("\n") <= 450, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                assert node.end_lineno - node.lineno < 45, f"{path}:{node.name}"
