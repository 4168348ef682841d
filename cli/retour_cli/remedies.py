"""Remedies: the commands that make a folder or give a file to its user, as this host does such things."""

from __future__ import annotations

import os
import pwd
import shlex
from pathlib import Path

TMPFILES = (Path("/etc/tmpfiles.d"), Path("/run/tmpfiles.d"), Path("/usr/lib/tmpfiles.d"))
"""Where systemd-tmpfiles looks for its rules (tmpfiles.d(5)), the first file of a name wins."""
RULES = "retour.conf"
SOCKETS_MODE = 0o2750
"""Of the sockets' folder: Postfix's group may enter, and the set-group-id bit gives it the sockets."""


def user_name() -> str:
    """The user that this process is, or a number where passwd(5) has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def make_sockets_folder(folder: Path, user: str, group: str) -> str:
    """Makes a folder for sockets, or gives it the right owner, group and mode."""
    if _is_made_by_tmpfiles(folder):
        return f"systemd-tmpfiles --create {RULES}"
    return f"install -d -m {SOCKETS_MODE:o} -o {user} -g {group} {_quoted(folder)}"


def give(path: Path, mode: int) -> str:
    """Gives a file or folder to this user, with a mode."""
    return f"{own(path)} && chmod {mode:04o} {_quoted(path)}"


def own(path: Path) -> str:
    """Gives a file or folder to this user and their group."""
    name = user_name()
    owner = f"{name}:{os.getegid()}" if name.isdecimal() else f"{name}:"
    return f"chown {owner} {_quoted(path)}"


def let_pass(folder: Path) -> str:
    """Lets all users pass a folder, without showing them what is in it."""
    return f"chmod o+x {_quoted(folder)}"


def _is_made_by_tmpfiles(folder: Path) -> bool:
    for place in TMPFILES:
        try:
            lines = (place / RULES).read_text("utf-8").splitlines()
        except OSError:
            continue
        return any(line.split()[:1] == ["d"] and line.split()[1:2] == [str(folder)] for line in lines)
    return False


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
