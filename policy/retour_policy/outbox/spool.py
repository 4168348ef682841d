"""Spool: compressed copies of messages that may be sent again, one file each; its name says when it expires.

Neither a copy nor a part of the spool is used through a symbolic link.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from retour_policy import files
from retour_policy.clock import SECOND

_NAME = re.compile(r"([0-9a-f]{10})-[0-9a-f]{16}\.gz")
SWEEP_PARTS = 64  # a sweep takes one part at a time, because there can be a million copies
_COMPRESSION_LEVEL = 1  # the fastest: a message waits for it


def new_name(expires: int) -> str:
    """A name for a copy that may be removed from `expires` (milliseconds) on."""
    return f"{expires // SECOND:010x}-{secrets.token_hex(8)}.gz"


@dataclass(frozen=True)
class Spool:
    """The copies in one folder."""

    folder: Path

    def put(self, name: str, content: bytes) -> None:
        """Write a copy; it is durable when this returns. Raises `OSError`."""
        part = _part(name)
        files.make_folders(self.folder, 0o700)
        with files.folder_opened(self.folder) as folder:
            if files.make_folder(part, 0o700, inside=folder):
                os.fsync(folder)
            with files.folder_opened(part, inside=folder) as place:
                files.write_new(Path(name), gzip.compress(content, _COMPRESSION_LEVEL), folder=place)

    def get(self, name: str) -> bytes:
        """A copy. Raises `OSError` if it is missing, truncated or damaged."""
        try:
            with self._opened(_part(name)) as place:
                return gzip.decompress(files.read_in(place, name))
        except (EOFError, zlib.error) as error:
            raise OSError(f"{name}: {error}") from error

    def remove(self, name: str) -> None:
        """Remove a copy, if it exists."""
        part = _part(name)
        with contextlib.suppress(FileNotFoundError), self._opened(part) as place:
            os.unlink(name, dir_fd=place)

    def names(self, part: int | None = None) -> Iterator[tuple[str, int, int]]:
        """Every copy, or those of one of `SWEEP_PARTS`: name, and when it expires and was written (milliseconds)."""
        for name in sorted(folder.name for folder in self.folder.glob("[0-9a-f][0-9a-f]")):
            if part is None or int(name, 16) % SWEEP_PARTS == part:
                yield from self._names_in(name)

    def _names_in(self, part: str) -> Iterator[tuple[str, int, int]]:
        try:
            with self._opened(part) as place, os.scandir(place) as entries:
                found = list(filter(None, map(_dated, entries)))
        except (NotADirectoryError, FileNotFoundError):
            return  # a plain file or a link of that name is not ours
        yield from found

    @contextlib.contextmanager
    def _opened(self, part: str) -> Iterator[int]:
        with files.folder_opened(self.folder) as folder, files.folder_opened(part, inside=folder) as place:
            yield place


def _part(name: str) -> str:
    """The folder of a copy, in that of the spool."""
    if not _NAME.fullmatch(name):
        raise FileNotFoundError(f"{name}: not the name of a copy")
    return name[11:13]


def _dated(entry: os.DirEntry[str]) -> tuple[str, int, int] | None:
    found = _NAME.fullmatch(entry.name)
    try:
        written = entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000
    except FileNotFoundError:
        return None
    return (entry.name, int(found[1], 16) * SECOND, written) if found else None
