"""`retour --version`: the real version, and in a checkout the commit."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from retour_cli import version
from retour_cli.main import main
from retour_cli.version import version_text

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="a checkout's commit is known to git alone")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of some version with one commit."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "retour"\nversion = "7.8.9"\n')
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "one")
    return tmp_path


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True).stdout.strip()


def test_a_checkout_tells_its_commit(checkout: Path) -> None:
    """And the version that its pyproject.toml says now, whenever it was installed; new files are no change."""
    (checkout / "notes").touch()
    assert version_text(checkout) == f"7.8.9 (commit {git(checkout, 'rev-parse', '--short=7', 'HEAD')})"


def test_a_changed_checkout_says_so(checkout: Path) -> None:
    """Or a report of a fault would name a commit that does not have it."""
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("\n")
    assert version_text(checkout).endswith(", modified)")


def test_a_checkout_without_git_tells_its_version(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No program git, or none that may read it, and no commit yet."""
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        assert version_text(checkout) == "7.8.9"
    (checkout / ".git/HEAD").write_text("ref: refs/heads/none\n")
    assert version_text(checkout) == "7.8.9"


def test_an_installed_wheel_tells_its_version(tmp_path: Path) -> None:
    """The packages lie in site-packages then, where no .git is."""
    assert version_text(tmp_path) == metadata.version("retour")


def test_a_wheel_lays_the_module_out_as_it_is_looked_for() -> None:
    """`retour_cli/version.py` in site-packages: the folder is not a checkout of Retour, so no other's .git is used."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "cli/retour_cli" in packages["packages"]
    assert Path(version.__file__).relative_to(ROOT) == Path("cli/retour_cli/version.py")


def test_the_command_prints_it() -> None:
    """One line, and nothing of the configuration is read."""
    result = CliRunner().invoke(main, ["--version"], prog_name="retour", env={"RETOUR_CONFIG": "/nowhere"})
    assert result.exit_code == 0
    assert re.fullmatch(r"retour \d+\.\d+\.\d+( \(commit [0-9a-f]{7,}(, modified)?\))?\n", result.stdout)
