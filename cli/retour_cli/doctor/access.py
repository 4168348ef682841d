"""Access: whether the services' user can use every file, folder, socket, group and program that they need.

To be called as that user. What root may do says nothing about what the services may.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from retour_cli import remedies
from retour_cli.doctor.finding import Finding, critical, warning
from retour_cli.services.sockets import MAX_PATH_OCTETS
from retour_policy.config.model import Config
from retour_policy.store.location import file_of
from retour_policy.store.lock import lock_file
from retour_policy.store.sqlite import files_beside

FIRST_FREE_PORT = 1024
POSTFIX = "postfix"


def find_files(path: Path, config: Config, *, ring_is_handed_over: bool = False) -> list[Finding]:
    """The files and folders of the configuration in `path` that its services could not use; each folder once.

    A key ring that systemd hands over to them they need not read.
    """
    ring = () if ring_is_handed_over else _file(config.tokens.keyring, "tokens.keyring", 0o600, os.R_OK)
    return _each_once((*ring, *_files(path, config)))


def find_sockets(config: Config) -> list[Finding]:
    """The sockets that its services could not open, or Postfix not reach."""
    return _each_once(_sockets(config))


def _each_once(findings: Iterable[Finding]) -> list[Finding]:
    found: dict[tuple[str, object], Finding] = {}
    for one in findings:
        found.setdefault((one.name, one.mend or one.text), one)
    return list(found.values())


def _files(path: Path, config: Config) -> Iterator[Finding]:
    yield from _file(path, "", 0o640, os.R_OK)
    if config.lmtpd.rules:
        yield from _file(config.lmtpd.rules, "lmtpd.rules", 0o640, os.R_OK)
    yield from _secrets(config)
    if database := file_of(config.store.url):
        yield from _database(database)
    if any(stream.retry for stream in config.stream):
        yield from _folder(config.spool.dir, "spool.dir")


def _secrets(config: Config) -> Iterator[Finding]:
    """Those that are missing are the configuration's own errors."""
    for hook in config.hook:
        if hook.secret_file and os.path.lexists(hook.secret_file):
            yield from _file(hook.secret_file, f"hook[{hook.name}].secret_file", 0o600, os.R_OK)
        if hook.command and (closed := _closed_folder(Path(hook.command[0]))):
            yield _cannot_pass(closed, Path(hook.command[0]), f"hook[{hook.name}].command")
    for name, relay in config.relay.items():
        if relay.password_file:
            yield from _file(relay.password_file, f"relay.{name}.password_file", 0o600, os.R_OK)


def _file(path: Path, key: str, mode: int, how: int) -> Iterator[Finding]:
    """A file that is there, or behind a folder that cannot be passed."""
    if closed := _closed_folder(path):
        yield _cannot_pass(closed, path, key)
    elif os.path.lexists(path) and not os.access(path, how):
        what, name = ("write to", "file-not-writable") if how & os.W_OK else ("read", "file-unreadable")
        yield critical(name, f"{path}: {_user()} cannot {what} it", remedies.give(path, mode), key=key)


def _database(path: Path) -> Iterator[Finding]:
    """SQLite writes files beside it: the folder must be writable too, and what root has made there."""
    if closed := _closed_folder(path):
        yield _cannot_pass(closed, path, "store.url")
        return
    if not path.is_absolute() or not path.parent.is_dir():
        return  # opening it tells
    beside = (*files_beside(path), lock_file(path))
    for one in (path, *beside):
        yield from _file(one, "store.url", 0o640, os.R_OK | os.W_OK)
    yield from _folder(path.parent, "store.url")


def _folder(path: Path, key: str) -> Iterator[Finding]:
    """One that must be writable, or can be made."""
    if closed := _closed_folder(path):
        yield _cannot_pass(closed, path, key)
        return
    there = path if path.is_dir() else path.parent
    if not os.access(there, os.W_OK | os.X_OK):
        mend = remedies.own(path) if path.is_dir() else f"install -d -m 0700 -o {remedies.user_name()} {path}"
        yield critical("folder-not-writable", f"{path}: {_user()} cannot write to this folder", mend, key=key)


def _sockets(config: Config) -> Iterator[Finding]:
    wanted = [("milter.socket", config.milter.socket), ("lmtpd.lookup", config.lmtpd.lookup)]
    wanted += [("lmtpd.listen", spec) for spec in config.lmtpd.listen]
    group = _group(config.sockets.group)
    if group is None:
        text = f"there is no group {config.sockets.group} on this host"
        yield critical("socket-group-missing", text, f"groupadd --system {config.sockets.group}", key="sockets.group")
    seen = set()
    for key, spec in wanted:
        kind, _, rest = spec.partition(":")
        if kind == "unix":
            yield from _socket_path(Path(rest), key)
            if Path(rest).parent not in seen:
                yield from _sockets_folder(Path(rest).parent, key, config.sockets.group, group)
            seen.add(Path(rest).parent)
        elif kind == "inet":
            yield from _port(rest, key)


def _socket_path(path: Path, key: str) -> Iterator[Finding]:
    octets = len(os.fsencode(path))
    if octets > MAX_PATH_OCTETS:
        text = f"the path {path} has {octets} octets; a socket's may have {MAX_PATH_OCTETS}"
        yield critical("socket-path", text, key=key)
    if os.path.lexists(path) and not stat.S_ISSOCK(path.lstat().st_mode):
        yield critical("socket-path", f"{path} is there and is not a socket", f"rm {path}", key=key)


def _sockets_folder(folder: Path, key: str, name: str, group: int | None) -> Iterator[Finding]:
    mend = remedies.make_sockets_folder(folder, remedies.user_name(), name)
    if closed := _closed_folder(folder):
        yield _cannot_pass(closed, folder, key)
    elif not folder.is_dir():
        yield critical("folder-missing", f"there is no folder {folder}, which sockets are made in", mend, key=key)
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield critical("folder-not-writable", f"{folder}: {_user()} cannot make sockets in it", mend, key=key)
    elif group is not None:
        yield from _group_can_use(folder, key, name, group, mend)


def _group_can_use(folder: Path, key: str, name: str, group: int, mend: str) -> Iterator[Finding]:
    """The group gets the sockets by the folder's set-group-id bit, or because the user is in it; it enters by modes."""
    was = folder.stat()
    inherits = was.st_mode & stat.S_ISGID and was.st_gid == group
    if not inherits and os.geteuid() != 0 and group not in (os.getegid(), *os.getgroups()):
        text = f"sockets in {folder} cannot be given to the group {name}: {_user()} is not in it"
        yield critical("socket-group", text, mend, key=key)
    for one in (folder, *folder.parents):
        if not _postfix_can_pass(one, group):
            text = f"{one} (mode {stat.S_IMODE(one.stat().st_mode):04o}): Postfix cannot reach the sockets below it"
            if one == folder:
                yield critical("socket-closed", text, mend, key=key)
            else:
                yield warning("socket-closed", text, remedies.let_pass(one), key=key)


def _postfix_can_pass(folder: Path, group: int) -> bool:
    """By the modes, for a member of that group. Postfix's user, where it is there, may own the folder too."""
    was = folder.stat()
    with suppress(KeyError):
        if was.st_uid == pwd.getpwnam(POSTFIX).pw_uid:
            return bool(was.st_mode & stat.S_IXUSR)
    return bool(was.st_mode & (stat.S_IXGRP if was.st_gid == group else stat.S_IXOTH))


def _port(rest: str, key: str) -> Iterator[Finding]:
    port, _, host = rest.partition("@")
    if int(port) < FIRST_FREE_PORT and os.geteuid() != 0 and not _may_bind_low_ports():
        text = f"only root may listen on port {port}: let systemd open it (fd:NAME), or take one from {FIRST_FREE_PORT}"
        yield critical("port-below-1024", text, key=key)
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host.strip("[]"), 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        yield critical("address-not-here", f"cannot listen at {host}: {error}", key=key)


def _may_bind_low_ports() -> bool:
    """Whether this host lets anybody (net.ipv4.ip_unprivileged_port_start)."""
    try:
        return Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text().strip() == "0"
    except OSError:
        return False


def _closed_folder(path: Path) -> Path | None:
    """The first folder on the way to `path` that this user may not pass, if any."""
    ways = (folder for folder in reversed(path.parents) if os.path.lexists(folder))
    return next((folder for folder in ways if not os.access(folder, os.X_OK)), None)


def _cannot_pass(folder: Path, path: Path, key: str) -> Finding:
    """A folder that `path` lies in directly is probably Retour's own; one further up is not."""
    ours = folder == path.parent
    mend = remedies.give(folder, 0o750) if ours else remedies.let_pass(folder)
    return critical("folder-closed", f"{folder}: {_user()} cannot pass it to {path}", mend, key=key)


def _group(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _user() -> str:
    return f"the services' user {remedies.user_name()}"
