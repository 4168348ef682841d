"""Second user: a real one, who owns Retour's files and would like root to touch another's. Needs root.

Python itself may lie where that user cannot read it. So all is done in processes that have everything imported.
"""

from __future__ import annotations

import encodings.idna
import encodings.utf_8_sig
import importlib
import os
import pkgutil
import shutil
import subprocess
import tty
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import retour_cli
import retour_lmtpd
import retour_milter
import retour_policy
from lab.forked import forked
from lab.site import retour
from retour_cli import privileges

T = TypeVar("T")
UID, GID = 4242, 4243
"""Known to no passwd(5)."""


_NEEDED_LATER = (encodings.idna, encodings.utf_8_sig, tty)
for package in (retour_cli, retour_lmtpd, retour_milter, retour_policy):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if "__main__" not in found.name and ".versions" not in found.name and not found.name.endswith(".env"):
            importlib.import_module(found.name)


def can_read_the_code() -> bool:
    """Whether this clone lies where other users can read it, as the migrations must be: not so in root's home."""
    return bool(forked(_as_them(lambda: os.access(privileges.__file__, os.R_OK))).value)


def give(folder: Path) -> None:
    """Give the second user a folder, and all that is in it."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, UID, GID, follow_symlinks=False)


def give_sockets_to_postfix(home: Path) -> None:
    """Give the sockets' folder the group and mode that `retour init` gives it: a copy, or `give`, takes them away."""
    if os.geteuid() == 0:
        shutil.chown(home / "sockets", group="postfix")
        (home / "sockets").chmod(0o2750)


def as_second_user(work: Callable[[], T]) -> T:
    """Do something as that user, in a process of its own."""
    outcome = forked(_as_them(work))
    assert outcome.status == 0
    return outcome.value  # type: ignore[return-value]


def as_root(*words: str | Path, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command `retour` as root, in a process of its own, because it may become another user."""
    outcome = forked(lambda: retour_as_root(*words, config=config))
    assert outcome.value is not None, f"{words}: exit status {outcome.status}"
    return outcome.value


def retour_as_root(*words: str | Path, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same in this process, which must be one of `forked`."""
    privileges.PROGRAM = ()  # type: ignore[assignment]  # see above
    return retour(*words, config=config)


def _as_them(work: Callable[[], T]) -> Callable[[], T]:
    def become_and_work() -> T:
        os.setgroups([])
        os.setresgid(GID, GID, GID)
        os.setresuid(UID, UID, UID)
        return work()

    return become_and_work
