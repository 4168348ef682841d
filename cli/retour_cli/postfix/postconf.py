"""Postconf: runs Postfix's own programs, to read what it is set to and to write settings."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from retour_cli.postfix.instance import Instance, Service
from retour_policy.errors import InputError

PLACES = "/usr/sbin:/usr/local/sbin:/sbin"
TIMEOUT_S = 60.0
NOT_FOUND = 1  # postmap(1): the key is in none of the tables


class PostfixError(InputError):
    """There is no Postfix here, or one of its programs failed."""


class Programs:
    """Postfix's programs, for the instance whose files are in `config`; by default the host's."""

    def __init__(self, config: Path | None = None) -> None:
        self.config = config

    def run(self, program: str, *words: str, cwd: Path | None = None, ok: Sequence[int] = (0,)) -> str:
        """What a program prints. Raises `PostfixError` with what it said."""
        return self._run(program, words, cwd, ok).stdout

    def lookup(self, table: str, key: str, queue: Path | None = None) -> str | None:
        """What a table answers. Relative sockets lie in the queue's folder. Raises `PostfixError`."""
        done = self._run("postmap", ["-q", key, table], queue, (0, NOT_FOUND))
        if done.returncode == NOT_FOUND and done.stderr.strip():
            raise PostfixError(f"postmap -q {key} {table}: {done.stderr.strip()}")
        return done.stdout.strip() if done.returncode == 0 else None

    def _run(
        self, program: str, words: Sequence[str], cwd: Path | None, ok: Sequence[int]
    ) -> subprocess.CompletedProcess[str]:
        path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:{PLACES}")
        if path is None:
            raise PostfixError(f"there is no {program} on this host: is Postfix installed?")
        argv = [path, *(["-c", str(self.config)] if self.config else []), *words]
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", cwd=cwd,
                timeout=TIMEOUT_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PostfixError(f"{program}: {error}") from error
        if done.returncode not in ok:
            raise PostfixError(f"{program} failed: {done.stderr.strip() or f'exit status {done.returncode}'}")
        return done


def read(programs: Programs) -> Instance:
    """The instance as it is set now. Raises `PostfixError`."""
    values = _pairs(programs.run("postconf", "-x").splitlines())
    literal = _pairs(programs.run("postconf").splitlines())
    main = _pairs(programs.run("postconf", "-n").splitlines())
    config, queue = Path(values["config_directory"]), Path(values["queue_directory"])
    services = _services(
        programs.run("postconf", "-F").splitlines(), programs.run("postconf", "-P").splitlines(), values
    )

    def lookup(table: str, key: str) -> str | None:
        try:
            return programs.lookup(table, key, queue)
        except PostfixError:
            return None

    return Instance(config, main, literal, values, services, lookup)


def read_if_any(programs: Programs) -> Instance | None:
    """The instance, or None where there is none."""
    try:
        return read(programs)
    except PostfixError:
        return None


def _pairs(lines: Iterable[str]) -> dict[str, str]:
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _services(fields: Sequence[str], options: Sequence[str], values: dict[str, str]) -> tuple[Service, ...]:
    """From the lines of `postconf -F` and `postconf -P`: `smtp/inet/chroot = y`."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for path, value in _pairs(fields).items():
        name, kind, field = path.rsplit("/", 2)
        found.setdefault((name, kind), {})[field] = value
    overrides: dict[tuple[str, str], dict[str, str]] = {}
    for path, value in _pairs(options).items():
        name, kind, field = path.rsplit("/", 2)
        overrides.setdefault((name, kind), {})[field] = value
    default = "y" if values.get("compatibility_level", "0").startswith("0") else "n"  # COMPATIBILITY_README
    return tuple(
        Service(
            name,
            kind,
            one["command"].split()[0],
            one["chroot"].replace("-", default) == "y",
            overrides.get((name, kind), {}),
        )
        for (name, kind), one in found.items()
    )
