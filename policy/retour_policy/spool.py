"""Spool: compressed copies of messages that may be sent again, one file each; its name tells when it goes."""

from __future__ import annotations

import gzip
import os
import re
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from retour_policy.clock import SECOND

_NAME = re.compile(r"([0-9a-f]{10})-[0-9a-f]{16}\.gz")
_QUICK = 1  # level of compression: a message waits for it


def new_name(expires: int) -> str:
    """A name for a copy that may be removed from `expires` (milliseconds) on."""
    return f"{expires // SECOND:010x}-{secrets.token_hex(8)}.gz"


@dataclass(frozen=True)
class Spool:
    """The copies in one folder."""

    folder: Path

    def put(self, name: str, content: bytes) -> None:
        """Write a copy; it is on the disk for good when this returns. Raises `OSError`."""
        path = self._path(name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(gzip.compress(content, _QUICK))
                file.flush()
                os.fsync(file.fileno())
            _sync_folder(path.parent)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def get(self, name: str) -> bytes:
        """A copy. Raises `OSError` where it is gone, cut or damaged."""
        try:
            return gzip.decompress(self._path(name).read_bytes())
        except (EOFError, zlib.error) as error:
            raise OSError(f"{name}: {error}") from error

    def remove(self, name: str) -> None:
        """Remove a copy, where it is there."""
        self._path(name).unlink(missing_ok=True)

    def names(self) -> Iterator[tuple[str, int, int]]:
        """Every copy: its name, and when it expires and was written (milliseconds)."""
        for path in self.folder.glob("??/*.gz"):
            found = _NAME.fullmatch(path.name)
            if found:
                try:
                    written = path.stat().st_mtime_ns // 1_000_000
                except FileNotFoundError:
                    continue
                yield path.name, int(found[1], 16) * SECOND, written

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise FileNotFoundError(f"{name}: not the name of a copy")
        return self.folder / name[11:13] / name


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
