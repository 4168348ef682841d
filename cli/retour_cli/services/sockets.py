"""Sockets: opens the sockets of the configuration, or says clearly why it cannot."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from retour_cli import remedies
from retour_policy.config.model import SocketsSection
from retour_policy.errors import ConfigError, Problem
from retour_policy.files import folder_locked

MAX_PATH_OCTETS = 107  # the kernel's limit for a unix socket, unix(7)
BACKLOG = 128
FIRST_DESCRIPTOR = 3  # sd_listen_fds(3)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Setting:
    """The setting that names a socket: its file and key, for messages."""

    file: str
    key: str
    group_key: str = "sockets.group"
    """The key of the setting that says whose group may use it."""

    def error(self, text: str) -> ConfigError:
        """An error about this setting."""
        return ConfigError(Problem(self.file, self.key, text))


class OpenSocket:
    """A listening socket, and the path that leads to it. Somebody may remove that path, or put another in its place."""

    def __init__(self, setting: Setting, spec: str, settings: SocketsSection) -> None:
        """Open it. Raises `ConfigError`."""
        self._opening = (setting, spec, settings)
        self._path = Path(spec.partition(":")[2]) if spec.startswith("unix:") else None
        self._fault = ""
        self.listener = open_socket(*self._opening)
        self._inode = self._find_inode()

    def renew(self) -> socket.socket | None:
        """A new socket if nothing is at its path any more, else None. What prevents that is logged once."""
        if self._path is None or os.path.lexists(self._path):
            return None
        try:
            self.listener = open_socket(*self._opening)
        except ConfigError as error:
            if str(error) != self._fault:
                self._fault = str(error)
                log.error("socket is gone, and cannot be opened again", problem=self._fault)
            return None
        self._inode, self._fault = self._find_inode(), ""
        log.warning("socket was gone, opened again", path=str(self._path))
        return self.listener

    def remove(self) -> None:
        """Remove the path, if it still leads here; one from systemd is systemd's."""
        if self._path is not None and self._find_inode() == self._inode:
            self._path.unlink(missing_ok=True)

    def _find_inode(self) -> tuple[int, int] | None:
        try:
            was = os.lstat(self._path or "")
        except FileNotFoundError:
            return None
        return was.st_dev, was.st_ino


def open_all(
    wanted: Iterable[tuple[Setting, str]], settings: SocketsSection, undo: contextlib.ExitStack
) -> list[OpenSocket]:
    """A service's sockets, in order; `undo` removes their paths. Raises `ConfigError`."""
    found = []
    for setting, spec in wanted:
        one = OpenSocket(setting, spec, settings)
        undo.callback(one.remove)
        found.append(one)
    return found


def renewed(opened: Iterable[OpenSocket]) -> dict[int, socket.socket]:
    """New sockets for those whose paths are gone, by their numbers."""
    return {number: new for number, one in enumerate(opened) if (new := one.renew())}


def open_socket(setting: Setting, spec: str, settings: SocketsSection) -> socket.socket:
    """A listening socket for "unix:/path", "inet:PORT@ADDRESS" or "fd:NAME". Raises `ConfigError`."""
    kind, _, rest = spec.partition(":")
    if kind == "unix":
        return _unix(setting, Path(rest), settings)
    if kind == "inet":
        return _inet(setting, rest)
    return _handed_over(setting, rest)


def _unix(setting: Setting, path: Path, settings: SocketsSection) -> socket.socket:
    octets = len(os.fsencode(path))
    if octets > MAX_PATH_OCTETS:
        raise setting.error(f"the path {path} has {octets} octets; a socket's may have {MAX_PATH_OCTETS}")
    if not path.parent.is_dir():
        mend = remedies.make_sockets_folder(path.parent, remedies.user_name(), settings.group)
        raise setting.error(f"there is no folder {path.parent}; run: {mend}")
    with contextlib.ExitStack() as undo:
        listener = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            # One process at a time: a socket that is bound and does not listen yet looks stale to another.
            with folder_locked(path.parent):
                _remove_stale(setting, path)
                listener.bind(str(path))
                undo.callback(path.unlink, missing_ok=True)
                _give_to_group(setting, path, settings)
                listener.listen(BACKLOG)
        except OSError as error:
            raise setting.error(f"cannot listen on {path}: {error.strerror}") from error
        undo.pop_all()
    return listener


def _remove_stale(setting: Setting, path: Path) -> None:
    """Remove a socket that nobody listens on any more; another kind of file, or a live one, stays."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_socket():
        raise setting.error(f"{path} is there and is not a socket; name another path or remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.settimeout(1)
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise setting.error(f"{path} is in use and does not answer: {error.strerror}") from error
    raise setting.error(f"{path} is in use: another process listens there; is Retour running already?")


def _give_to_group(setting: Setting, path: Path, settings: SocketsSection) -> None:
    try:
        group = grp.getgrnam(settings.group).gr_gid
        with _itself(path) as socket_itself:
            os.chmod(socket_itself, int(settings.mode, 8))  # noqa: PTH101
            os.chown(socket_itself, -1, group)
    except KeyError:
        raise Setting(setting.file, setting.group_key).error(
            f"there is no group {settings.group!r} on this host"
        ) from None
    except PermissionError:
        mend = remedies.make_sockets_folder(path.parent, remedies.user_name(), settings.group)
        text = f"{path} cannot be given to group {settings.group}; run: {mend}"
        raise Setting(setting.file, setting.group_key).error(text) from None


@contextlib.contextmanager
def _itself(path: Path) -> Iterator[str]:
    """A path of a socket that stays its own, whatever somebody who may write to its folder puts there meanwhile."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        was = os.fstat(descriptor)
        if not stat.S_ISSOCK(was.st_mode) or was.st_uid != os.geteuid():
            raise OSError(errno.EEXIST, "was replaced while it was being opened")
        yield f"/proc/self/fd/{descriptor}"  # chmod(2) needs a path
    finally:
        os.close(descriptor)


def _inet(setting: Setting, rest: str) -> socket.socket:
    port, _, host = rest.partition("@")
    with contextlib.ExitStack() as undo:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = undo.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except (OSError, OverflowError, UnicodeError) as error:
            what = error.strerror if isinstance(error, OSError) else str(error)
            raise setting.error(f"cannot listen on port {port} of {host}: {what}") from error
        undo.pop_all()
    return listener


def _handed_over(setting: Setting, name: str) -> socket.socket:
    """A socket that systemd opened: LISTEN_FDS and LISTEN_FDNAMES, as in sd_listen_fds(3)."""
    count = int(os.environ.get("LISTEN_FDS", "0")) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    wanted = [FIRST_DESCRIPTOR + n for n in range(count) if n < len(names) and names[n] == name]
    if not wanted:
        raise setting.error(f"no socket named {name!r} came from systemd; see FileDescriptorName= in systemd.socket(5)")
    if len(wanted) > 1:
        raise setting.error(f"{len(wanted)} sockets named {name!r} came from systemd; give each a name, and list them")
    try:
        return socket.socket(fileno=wanted[0])
    except OSError as error:
        raise setting.error(
            f"what systemd passed as {name!r} is not a socket: {os.strerror(error.errno or 0)}"
        ) from error
