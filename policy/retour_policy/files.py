"""Files: locks between processes, and files that are written durably and keep their owner."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def folder_locked(path: Path) -> Iterator[None]:
    """Hold the lock (flock(2)) of the folder `path`: one process at a time. Raises `OSError`."""
    with _opened(path, _FOLDER) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def file_locked(path: Path, beside: Path) -> Iterator[None]:
    """Hold the lock (flock(2)) of the file `path`, created if missing, with the owner of `beside`.

    One process, and one thread of it, at a time. Raises `OSError`.
    """
    with _opened(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660) as descriptor:
        give_to_owner(descriptor, beside)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def create_empty(path: Path, mode: int) -> None:
    """Create the file `path` if it is missing, with the owner of its folder. Raises `OSError`."""
    with _opened(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode) as descriptor:
        give_to_owner(descriptor, path.parent)


def write_new(path: Path, content: bytes, *, like: Path | None = None) -> None:
    """Write a new file, whole or not at all; it is durable when this returns.

    Its mode is 0600, or with `like` its owner and mode are those of that file. Raises `OSError`.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if like is not None:
                _copy_owner_and_mode(descriptor, like)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        sync_folder(path.parent)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: fsync(2) of a file does not write its name."""
    with _opened(path, _FOLDER) as descriptor:
        os.fsync(descriptor)


def give_to_owner(descriptor: int, of: Path) -> None:
    """As root: give an open file to the owner and group of `of`, or the service could not write to it."""
    if os.geteuid() == 0 and of.exists():
        was, now = of.stat(), os.fstat(descriptor)
        if (was.st_uid, was.st_gid) != (now.st_uid, now.st_gid):
            os.fchown(descriptor, was.st_uid, was.st_gid)


def open_to_others(path: Path) -> int | None:
    """The mode of a file if users other than its owner and group can use it, else None. Raises `OSError`."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return mode if mode & 0o007 else None


def _copy_owner_and_mode(descriptor: int, of: Path) -> None:
    was = of.stat()
    os.fchown(descriptor, was.st_uid, was.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(was.st_mode))


@contextlib.contextmanager
def _opened(path: Path, flags: int, mode: int = 0) -> Iterator[int]:
    descriptor = os.open(path, flags, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
