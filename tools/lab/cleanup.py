"""Runs a command when this process asks for it or ends, in any way, kill -9 included."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence

from lab.wait import PATIENCE


class Guard:
    """A shell that waits for the end of its input, a pipe that only this process holds, then runs `argv`."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", f"read -r _; {shlex.join(argv)}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            start_new_session=True,  # a terminal's Ctrl-C must not reach the guard
        )

    def release(self) -> int:
        """Run the command now and return its exit status. Raises `subprocess.TimeoutExpired`."""
        assert self._shell.stdin
        self._shell.stdin.close()
        return self._shell.wait(PATIENCE)
