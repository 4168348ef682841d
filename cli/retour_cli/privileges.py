"""Privileges: what root starts becomes the user whose files it works on, before it opens them, and never root again.

Whoever owns a file, or a folder on the way to it, decides what its path leads to. A command that opens it as root can
be led to any file of the host; as that user it can do no more than they can.
"""

from __future__ import annotations

import ctypes
import os
import pwd
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retour_policy.errors import EX_CONFIG, ConfigError, Problem

PROGRAM = (Path(__file__), Path(os.__file__))  # ours and Python's, of which more is read when it is needed
_PR_SET_DUMPABLE = 4


@dataclass(frozen=True, slots=True)
class Owner:
    """A user, and the file or folder that is theirs."""

    uid: int
    gid: int
    place: Path

    @classmethod
    def named(cls, name: str, place: Path) -> Owner:
        """The user of that name. Raises `KeyError`."""
        entry = pwd.getpwnam(name)
        return cls(entry.pw_uid, entry.pw_gid, place)

    @property
    def entry(self) -> pwd.struct_passwd | None:
        """Their line in passwd(5)."""
        try:
            return pwd.getpwuid(self.uid)
        except KeyError:
            return None

    @property
    def group(self) -> int:
        """Their own group; of a user that passwd(5) does not know, that of the file."""
        return self.entry.pw_gid if self.entry else self.gid

    def __str__(self) -> str:
        return self.entry.pw_name if self.entry else f"user {self.uid}"


def find_owner(paths: Iterable[Path]) -> Owner | None:
    """Who but root can change what these paths lead to: the first such owner of a file, a link or a folder above it."""
    for place in (place for path in paths for place in _way(path)):
        try:
            was = place.lstat()
        except OSError:
            continue
        if was.st_uid != 0:
            return Owner(was.st_uid, was.st_gid, place)
    return None


def become_owner(paths: Iterable[Path]) -> None:
    """As root, become whom `find_owner` finds; otherwise nothing happens. Raises `ConfigError`."""
    if os.geteuid() == 0 and (owner := find_owner(paths)):
        become(owner)


def become(owner: Owner) -> None:
    """Become that user, with their groups, in all threads and for good, as setpriv(1) does. Raises `ConfigError`.

    What is open already stays open, so no other process of that user may look into this one (ptrace(2)).
    """
    try:
        if owner.entry:
            os.initgroups(owner.entry.pw_name, owner.group)
        else:
            os.setgroups([])
        os.setresgid(*[owner.group] * 3)
        os.setresuid(*[owner.uid] * 3)
    except OSError as error:
        text = f"belongs to {owner}, and this process cannot become that user: {error.strerror}"
        raise ConfigError(Problem(str(owner.place), "", text)) from error
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _must_be_for_good(owner)
    for file in PROGRAM:
        if not os.access(file, os.R_OK):
            text = f"{owner}, who owns {owner.place}, cannot read it; install Retour where all can, such as /opt/retour"
            raise ConfigError(Problem(str(file), "", text))


def _must_be_for_good(owner: Owner) -> None:
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        return
    os.write(2, f"retour: this host lets {owner} become root again; nothing was done\n".encode())
    os._exit(EX_CONFIG)


def _way(path: Path) -> Iterator[Path]:
    """The path and the folders above it, from its end; then the same of what its links lead to."""
    real = Path(os.path.realpath(path))
    yield from (path, *path.parents)
    if real != path:
        yield from (real, *real.parents)
