"""Terminal: runs a command on a terminal of its own, 80 columns wide, so that it prints what a person would see."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress


def run_on_terminal(argv: Sequence[str], *, env: Mapping[str, str], columns: int = 80) -> tuple[int, str]:
    """The exit status of `argv`, and what it printed to standard output and standard error together."""
    ours, theirs = os.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=env)
    finally:
        os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as terminal, child:
        said = b""
        with suppress(OSError):  # a terminal ends with an error, not with an end of file
            while more := terminal.read(4096):
                said += more
    return child.returncode, said.decode(errors="replace").replace("\r\n", "\n")
