"""Draft: files that are made beside their places and then appear there, so that a killed process leaves none half made.

Each is made in a folder of ours, `.retour-init`, and linked to its place. While that second name exists, a file that
has appeared can be told from somebody else's: it is the same inode. The last file to appear says that all are there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from retour_policy import files

STAGE = ".retour-init"


class Draft:
    """The files to make, in the order in which they appear. One process at a time may work on it.

    `beside` names for a place the files that come into being beside it when it is used, and go with it.
    """

    def __init__(self, places: Sequence[Path], beside: Mapping[Path, Sequence[Path]]) -> None:
        self._places = tuple(places)
        self._beside = dict(beside)

    def path(self, place: Path) -> Path:
        """Where to make the file that will appear in this place."""
        return place.parent / STAGE / place.name

    def is_begun(self) -> bool:
        """Whether another one is at work on it, or was killed."""
        return any(map(os.path.lexists, self._stages()))

    def occupied(self) -> list[Path]:
        """The places where something is, or beside which something is, that an unfinished draft has not left."""
        others = [place for place in self._places if not self.is_left_over(place)]
        ways = [path for place in others for path in (place, *self._beside.get(place, ()))]
        return [path for path in ways if os.path.lexists(path)]

    def begin(self) -> None:
        """Take back what an unfinished draft has left, and be ready to make files. Raises `OSError`."""
        self.discard()
        for stage in self._stages():
            files.make_folder(stage, 0o700)

    def publish(self) -> None:
        """Let all appear; the drafts are gone. Raises `FileExistsError` if something is there, and other `OSError`s."""
        for place in self._places:
            os.link(self.path(place), place, follow_symlinks=False)
            files.sync_folder(place.parent)
        self._remove_stages()

    def discard(self) -> None:
        """Remove what was made; what has appeared too, unless the last has. Raises `OSError`."""
        for place in self._places:
            if self.is_left_over(place):
                for path in (*self._beside.get(place, ()), place):  # or they would be taken for another database's
                    path.unlink(missing_ok=True)
        self._remove_stages()

    def is_left_over(self, place: Path) -> bool:
        """Whether it appeared, and the draft was not finished: or it was, and the last file is gone again."""
        return not os.path.lexists(self._places[-1]) and _same(place, self.path(place))

    def _stages(self) -> list[Path]:
        return list(dict.fromkeys(place.parent / STAGE for place in self._places))

    def _remove_stages(self) -> None:
        for stage in self._stages():
            if os.path.lexists(stage):
                shutil.rmtree(stage)


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except (FileNotFoundError, NotADirectoryError):
        return False
