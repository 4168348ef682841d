"""Secrets: the files with keys and passwords that hooks and relays name, and their commands; checked and read."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from pathlib import Path

from retour_policy import files
from retour_policy.config.model import Config
from retour_policy.errors import ConfigError, Problem

SECRET_PREFIX = "whsec_"
MIN_SECRET_OCTETS, MAX_SECRET_OCTETS = 24, 64  # Standard Webhooks, "Signature scheme"
MAX_FILE_OCTETS = 100_000


@dataclass(frozen=True)
class Secrets:
    """The keys and passwords of the courier; nobody else may read them."""

    hooks: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    """By hook: the keys that sign, the newest first."""
    hook_passwords: dict[str, str] = field(default_factory=dict)
    """By hook: the password to log in."""
    relays: dict[str, str] = field(default_factory=dict)
    """By relay: the password."""


class _Fault(ValueError):
    """What is wrong with one file."""


def load_secrets(file: Path, config: Config) -> Secrets:
    """Passwords and keys. Raises `ConfigError` with every file that cannot be used, and every command."""
    problems: list[Problem] = []
    hooks: dict[str, tuple[bytes, ...]] = {}
    hook_passwords: dict[str, str] = {}
    relays: dict[str, str] = {}
    for hook in config.hook:
        try:
            if hook.secret_file:
                hooks[hook.name] = _keys(_secret_text(hook.secret_file))
        except _Fault as fault:
            problems.append(Problem(str(file), f"hook[{hook.name}].secret_file", str(fault)))
        try:
            hook_passwords |= _password(hook.name, hook.password_file)
        except _Fault as fault:
            problems.append(Problem(str(file), f"hook[{hook.name}].password_file", str(fault)))
        if hook.command and (wrong := _not_executable(hook.command[0])):
            problems.append(Problem(str(file), f"hook[{hook.name}].command", wrong))
    for name, relay in config.relay.items():
        try:
            relays |= _password(name, relay.password_file)
        except _Fault as fault:
            problems.append(Problem(str(file), f"relay.{name}.password_file", str(fault)))
    if problems:
        raise ConfigError(*problems)
    return Secrets(hooks, hook_passwords, relays)


def _not_executable(program: str) -> str:
    """What is wrong with a command's first word, if anything."""
    if not program.startswith("/"):
        return f"{program!r} is not an absolute path; it must begin with /"
    if not Path(program).is_file():
        return f"{program}: no such file"
    return "" if os.access(program, os.X_OK) else f"{program}: is not executable; run: chmod +x {program}"


def _secret_text(path: Path) -> str:
    try:
        mode = files.open_to_others(path)
        if mode is not None:
            raise _Fault(f"others can use {path} (mode {mode:04o}); run: chmod 0600 {path}")
        return files.read_regular(path, MAX_FILE_OCTETS).decode("utf-8")
    except OSError as error:
        raise _Fault(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _Fault(f"{path}: is not UTF-8 text") from error


def _keys(text: str) -> tuple[bytes, ...]:
    """One key a line; while keys are changed there are two, and both sign."""
    return tuple(_key(line.strip()) for line in text.splitlines() if line.strip()) or _none()


def _none() -> tuple[bytes, ...]:
    raise _Fault("contains no secret; to make one: (printf whsec_; openssl rand -base64 32) > FILE")


def _key(line: str) -> bytes:
    try:
        key = base64.b64decode(line.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise _Fault(f"contains no secret in base64 ({error})") from error
    if not line.startswith(SECRET_PREFIX) or not MIN_SECRET_OCTETS <= len(key) <= MAX_SECRET_OCTETS:
        raise _Fault(f"a secret is whsec_ and {MIN_SECRET_OCTETS} to {MAX_SECRET_OCTETS} octets in base64, one a line")
    return key


def _password(name: str, path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    password = _secret_text(path).strip()
    if not password:
        raise _Fault(f"{path}: is empty")
    return {name: password}
