"""Run record: a file in which a running service says what configuration it has read, for `retour check` to compare.

The service holds a lock on it as long as it lives, so what a killed one has left is known for that.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from retour_policy import files
from retour_policy.config.model import Config

RUNTIME = Path("/run/retour")
"""Where the units' RuntimeDirectory= is, a folder for each service."""

MAX_RECORD_OCTETS = 100_000
_SUFFIX = ".running"
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What one service works with."""

    service: str
    pid: int
    config: str
    """The path of its configuration."""

    digests: Mapping[str, str]
    """Of each file that it has read, by path: the configuration and the rules that it names."""

    read_at: int
    """In milliseconds since 1970."""

    refused: str = ""
    """The first problem of a newer configuration that it was asked to read, and did not take."""

    until_restart: tuple[str, ...] = ()
    """Keys that it has read and that take effect at its next start only."""

    def changed(self) -> list[str]:
        """Which of the files are not what it has read any more."""
        return [path for path, seen in self.digests.items() if files.digest(Path(path)) != seen]


class RecordFile:
    """The record of this process. What prevents writing it is no reason for a service not to run."""

    def __init__(self, service: str, config: Config) -> None:
        self._descriptor = -1
        with contextlib.suppress(OSError):
            self._path = _own_folder(config) / (service + _SUFFIX)
            descriptor = os.open(self._path, _FLAGS | os.O_CREAT | os.O_RDWR, 0o640)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)  # another one runs, and will say why this one cannot
                raise
            self._descriptor = descriptor

    def write(self, record: RunRecord) -> None:
        """Put `record` in the place of what is there."""
        octets = json.dumps(asdict(record)).encode()
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, octets, 0)
            os.ftruncate(self._descriptor, len(octets))

    def remove(self) -> None:
        """This process works no more."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink()


def find_running(path: Path, config: Config) -> list[RunRecord]:
    """The records of the services that run with the configuration in `path`."""
    found = {record.service: record for record in map(_read, _candidates(config)) if record}
    here = os.path.realpath(path)
    return [one for _, one in sorted(found.items()) if os.path.realpath(one.config) == here]


def _own_folder(config: Config) -> Path:
    """Systemd's, where it made one; else that of the first socket that is in a folder. Raises `FileNotFoundError`."""
    if given := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(given.partition(":")[0])
    for folder in _socket_folders(config):
        return folder
    raise FileNotFoundError("no folder of sockets")


def _socket_folders(config: Config) -> Iterator[Path]:
    for spec in (config.lmtpd.lookup, config.milter.socket, *config.lmtpd.listen):
        if spec.startswith("unix:"):
            yield Path(spec.removeprefix("unix:")).parent


def _candidates(config: Config) -> Iterable[Path]:
    folders = [*_socket_folders(config), *(RUNTIME.iterdir() if RUNTIME.is_dir() else ())]
    return [path for folder in dict.fromkeys(folders) for path in folder.glob("*" + _SUFFIX)]


def _read(path: Path) -> RunRecord | None:
    """The record in a file; None where its service does not run, or is just writing it."""
    try:
        descriptor = os.open(path, _FLAGS | os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        data = json.loads(os.pread(descriptor, MAX_RECORD_OCTETS, 0))
        return RunRecord(**data | {"until_restart": tuple(data["until_restart"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    finally:
        os.close(descriptor)
