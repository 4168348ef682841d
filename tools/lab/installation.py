"""Where Postfix is installed: by the Debian package, or unpacked beside another mail server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT_VARIABLE = "RETOUR_POSTFIX_ROOT"
"""Names the folder that a Postfix package was unpacked into."""

BESIDE = Path(__file__).parents[2] / "build" / "postfix"
"""Where tools/setup-debian unpacks Postfix when another mail server is installed."""


@dataclass(frozen=True)
class Installation:
    """The folders of a Postfix and the environment that its programs need."""

    settings: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    commands: Path = Path("/usr/sbin")

    def command(self, name: str) -> str:
        """The path of a Postfix command. Raises `FileNotFoundError` that says how to get it."""
        path = self.commands / name
        if not path.exists():
            raise FileNotFoundError(f"{path}: no Postfix here; tools/setup installs it, or set {ROOT_VARIABLE}")
        return str(path)


def complaint(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a command that failed silently again, on a terminal: only there Postfix says why."""
    ours, theirs = os.openpty()
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment, check=False)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # a terminal ends with an error, not with an end of file
        while more := os.read(ours, 4096):
            said += more
    os.close(ours)
    return said.decode(errors="replace")


def find_installation() -> Installation:
    """The Postfix that the environment names, else the one that set-up unpacked, else the installed one."""
    if root := os.environ.get(ROOT_VARIABLE):
        return _unpacked(Path(root))
    return _unpacked(BESIDE) if BESIDE.exists() else Installation()


def _unpacked(root: Path) -> Installation:
    libraries = root / "usr/lib/postfix"
    settings = {
        "command_directory": f"{root}/usr/sbin",
        "daemon_directory": f"{libraries}/sbin",
        "shlib_directory": str(libraries),
        "meta_directory": f"{root}/etc/postfix",
        "sendmail_path": f"{root}/usr/sbin/sendmail",
        "mailq_path": f"{root}/usr/bin/mailq",
        "newaliases_path": f"{root}/usr/bin/newaliases",
        # Postfix keeps and passes on only the variables listed here; all its programs need the library path.
        "export_environment": "MAIL_CONFIG TZ LANG LD_LIBRARY_PATH",
        "import_environment": "MAIL_CONFIG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME LD_LIBRARY_PATH",
    }
    return Installation(settings, {"LD_LIBRARY_PATH": str(libraries)}, root / "usr/sbin")
