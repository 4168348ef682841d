"""Spool: compressed copies of messages that may be sent again, one file each; its name says when it expires."""

from __future__ import annotations

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
        path = self._path(name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write_new(path, gzip.compress(content, _COMPRESSION_LEVEL))

    def get(self, name: str) -> bytes:
        """A copy. Raises `OSError` if it is missing, truncated or damaged."""
        try:
            return gzip.decompress(self._path(name).read_bytes())
        except (EOFError, zlib.error) as error:
            raise OSError(f"{name}: {error}") from error

    def remove(self, name: str) -> None:
        """Remove a copy, if it exists."""
        self._path(name).unlink(missing_ok=True)

    def names(self, part: int | None = None) -> Iterator[tuple[str, int, int]]:
        """Every copy, or those of one of `SWEEP_PARTS`: name, and when it expires and was written (milliseconds)."""
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            if part is None or int(folder.name, 16) % SWEEP_PARTS == part:
                with os.scandir(folder) as entries:
                    yield from filter(None, map(_dated, entries))

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise FileNotFoundError(f"{name}: not the name of a copy")
        return self.folder / name[11:13] / name


def _dated(entry: os.DirEntry[str]) -> tuple[str, int, int] | None:
    found = _NAME.fullmatch(entry.name)
    try:
        written = entry.stat().st_mtime_ns // 1_000_000
    except FileNotFoundError:
        return None
    return (entry.name, int(found[1], 16) * SECOND, written) if found else None
