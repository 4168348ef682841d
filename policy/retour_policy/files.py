"""Files: opened and created without following links, written durably; folders; locks between processes.

Somebody else may own the folder in which root works. So nothing here is opened through a symbolic link or given to
another user by its path: only what O_EXCL has just created changes its owner, by its descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

NO_CREDENTIAL = "none"  # is the credential, in the units, that stands for a file which is not there
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_CREAT | os.O_EXCL | _NO_LINK
_MAX_RACES = 10  # with others who create or remove the same file


@contextlib.contextmanager
def folder_locked(path: Path) -> Iterator[None]:
    """Hold the lock (flock(2)) of the folder `path`: one process at a time. Raises `OSError`."""
    with folder_opened(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def folder_opened(path: Path | str, inside: int | None = None) -> Iterator[int]:
    """A descriptor of a folder; of one `inside` another (a descriptor), if it is not a link. Raises `OSError`."""
    no_link = 0 if inside is None else os.O_NOFOLLOW
    descriptor = os.open(path, _FOLDER | no_link, dir_fd=inside)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_folder(path: Path | str, mode: int, *, inside: int | None = None) -> bool:
    """Make a folder with this mode, whatever the umask; False if it is there already. Raises `OSError`."""
    try:
        os.mkdir(path, mode & 0o777, dir_fd=inside)
    except FileExistsError:
        return False
    descriptor = os.open(path, _FOLDER | os.O_NOFOLLOW, dir_fd=inside)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
    return True


def make_folders(path: Path, mode: int) -> bool:
    """Make a folder with this mode, and those above it with 0755; False if it is there already. Raises `OSError`."""
    try:
        return make_folder(path, mode)
    except FileNotFoundError:
        make_folders(path.parent, 0o755)
        return make_folder(path, mode)


def open_lock(path: Path, beside: Path) -> int:
    """A descriptor of the file `path`, created if missing, with the owner of `beside`. Raises `OSError`."""
    for _ in range(_MAX_RACES):
        with contextlib.suppress(FileNotFoundError):
            return _regular(path, os.open(path, os.O_RDWR | os.O_NONBLOCK | _NO_LINK))
        with contextlib.suppress(FileExistsError):
            return _create(path, 0o600, beside)
    raise OSError(errno.ENOENT, "is created and removed again and again", str(path))


def create_empty(path: Path, mode: int) -> None:
    """Create the file `path` if it is missing, with the owner of its folder. Raises `OSError`, for a link too."""
    try:
        os.close(_create(path, mode, path.parent))
    except FileExistsError:
        os.close(_regular(path, os.open(path, os.O_RDONLY | os.O_NONBLOCK | _NO_LINK)))


def write_new(
    path: Path, content: bytes, *, mode: int = 0o600, like: Path | None = None, folder: int | None = None
) -> None:
    """Write a new file, whole or not at all; it is durable when this returns.

    With `like` its owner and mode are those of that file. `folder` is a descriptor: `path` is a name in it. Raises
    `OSError`.
    """
    descriptor = os.open(path, os.O_WRONLY | _NEW, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            if like is not None:
                _copy_owner_and_mode(descriptor, like)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        sync_folder(path.parent) if folder is None else os.fsync(folder)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path, dir_fd=folder)
        raise


def read_in(folder: int, name: str) -> bytes:
    """The file `name` in a folder (a descriptor), if it is a regular one. Raises `OSError`."""
    path = Path(name)
    descriptor = _regular(path, os.open(path, os.O_RDONLY | os.O_NONBLOCK | _NO_LINK, dir_fd=folder))
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def read_regular(path: Path, max_octets: int) -> bytes:
    """The content of a file that is a regular one: a pipe may keep its reader waiting, and a device has no end.

    A link is followed. Raises `OSError`, for more than `max_octets` too.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with os.fdopen(_regular(path, descriptor), "rb") as file:
        content = file.read(max_octets + 1)
    if len(content) > max_octets:
        raise OSError(errno.EFBIG, f"is larger than {max_octets} octets", str(path))
    return content


def find_readable(path: Path) -> Path:
    """Where a secret file can be read: at its path, or else among the credentials of this service (systemd.exec(5)).

    Such a copy is made when the service starts, and knows of no later change.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder or os.access(path, os.R_OK):
        return path
    copy = Path(folder, path.name)
    with contextlib.suppress(OSError):
        if copy.stat().st_size > len(NO_CREDENTIAL):
            return copy
    return path


def digest(path: Path) -> str:
    """A name for what is in a regular file now (SHA-256, in hexadecimal); "" where it cannot be read."""
    try:
        descriptor = _regular(path, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        with os.fdopen(descriptor, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: fsync(2) of a file does not write its name."""
    with folder_opened(path) as descriptor:
        os.fsync(descriptor)


def open_to_others(path: Path) -> int | None:
    """The mode of a file if users other than its owner and group can use it, else None. Raises `OSError`."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return mode if mode & 0o007 else None


def _create(path: Path, mode: int, beside: Path) -> int:
    """A new file. If root creates it, it is the user's who owns `beside`, or their service could not write to it."""
    descriptor = os.open(path, os.O_RDWR | _NEW, 0o600)
    try:
        os.fchmod(descriptor, mode)
        if os.geteuid() == 0:
            of = (beside if os.path.lexists(beside) else path.parent).lstat()
            os.fchown(descriptor, of.st_uid, of.st_gid)
    except OSError:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        raise
    return descriptor


def _regular(path: Path, descriptor: int) -> int:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "is not a regular file", str(path))


def _copy_owner_and_mode(descriptor: int, of: Path) -> None:
    was = of.stat()
    os.fchown(descriptor, was.st_uid, was.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(was.st_mode))
