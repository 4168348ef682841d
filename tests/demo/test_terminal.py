"""The terminal that the demo's commands run on."""

from __future__ import annotations

import os
import sys

from story.terminal import run_on_terminal

PROGRAM = "import shutil, sys; print(shutil.get_terminal_size().columns, sys.stdout.isatty()); sys.exit('no')"


def test_a_command_sees_a_terminal_of_80_columns() -> None:
    """It prints what a person would see, standard error included, and its exit status comes along."""
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    assert run_on_terminal([sys.executable, "-c", PROGRAM], env=env) == (1, "80 True\nno\n")
