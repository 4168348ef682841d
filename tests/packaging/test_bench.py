"""`make bench` runs every script in bench/, and fails where a limit is not kept."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def storms() -> ModuleType:
    """bench/storms.py, which measures nothing when it is imported."""
    spec = importlib.util.spec_from_file_location("bench_storms", ROOT / "bench/storms.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_make_bench_runs_every_script_and_stops_at_the_first_that_fails() -> None:
    """As make itself would, without doing it."""
    argv = ["make", "--dry-run", "--always-make", "bench"]
    said = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in said.splitlines() if line.startswith("for script in")]
    scripts = line.partition("for script in ")[2].partition(";")[0].split()
    assert scripts == sorted(str(path.relative_to(ROOT)) for path in (ROOT / "bench").glob("*.py"))
    assert "|| exit 1" in line


@pytest.mark.parametrize(("reports", "tick", "status"), [(1.3, 1.3, 0), (1.31, 1.0, 1), (1.0, 1.31, 1)])
def test_storms_may_cost_a_third_more_and_no_more(
    storms: ModuleType, capsys: pytest.CaptureFixture[str], reports: float, tick: float, status: int
) -> None:
    """With 1,000 open storms against none: both the recording of reports, and the look at what is due."""
    assert storms.STORMS == 1_000
    assert storms.judge({"reports": reports, "nothing is due": tick}) == status
    assert capsys.readouterr().out.count("at most 1.3") == 2
