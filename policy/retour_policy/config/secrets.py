"""Targets: what hooks, relays and resends refer to: each other, programs, and files with secrets; checked and read."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from retour_policy.config.courier import HookSection, RelaySection
from retour_policy.config.model import Config
from retour_policy.errors import ConfigError, Problem

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64  # octets of a secret (Standard Webhooks, "Signature scheme")


@dataclass(frozen=True)
class Secrets:
    """What the courier must know and nobody else may read."""

    hooks: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    """By hook: the keys that sign, the newest first."""
    relays: dict[str, str] = field(default_factory=dict)
    """By relay: the password."""


class _Fault(ValueError):
    """What is wrong with one file."""


def contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """What does not fit together, without a look at any other file: key and words."""
    names = [hook.name for hook in config.hook]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"hook[{name}].name", "two hooks have this name; right is one of each"
    for hook in config.hook:
        yield from _of_hook(config, hook)
    for relay_name, relay in config.relay.items():
        if relay.user is not None and relay.password_file is None:
            yield f"relay.{relay_name}.password_file", f"is missing; {relay.user} needs one to log in"
    yield from _of_streams(config)
    if config.forward.relay not in config.relay:
        yield "forward.relay", _no_relay(config, config.forward.relay)


def load_secrets(file: Path, config: Config) -> Secrets:
    """Passwords and keys. Raises `ConfigError` with every file that cannot be used, and every command."""
    problems: list[Problem] = []
    hooks: dict[str, tuple[bytes, ...]] = {}
    relays: dict[str, str] = {}
    for hook in config.hook:
        try:
            if hook.secret_file:
                hooks[hook.name] = _keys(_secret_text(hook.secret_file))
        except _Fault as fault:
            problems.append(Problem(str(file), f"hook[{hook.name}].secret_file", str(fault)))
        if hook.command and (wrong := _not_executable(hook.command[0])):
            problems.append(Problem(str(file), f"hook[{hook.name}].command", wrong))
    for name, relay in config.relay.items():
        try:
            relays |= _password(name, relay)
        except _Fault as fault:
            problems.append(Problem(str(file), f"relay.{name}.password_file", str(fault)))
    if problems:
        raise ConfigError(*problems)
    return Secrets(hooks, relays)


def _of_hook(config: Config, hook: HookSection) -> Iterator[tuple[str, str]]:
    key = f"hook[{hook.name}]"
    if bool(hook.webhook) == bool(hook.command):
        what = "two targets" if hook.webhook else "no target"
        yield key, f"has {what}; right is one of webhook and command"
    if hook.webhook and hook.webhook.startswith("http:") and not hook.allow_http:
        text = "http would send addresses over the network for all to read; right is https, or allow_http = true"
        yield f"{key}.webhook", text
    if hook.webhook and hook.secret_file is None:
        text = "is missing; it holds the secret that signs: (printf whsec_; openssl rand -base64 32) > FILE"
        yield f"{key}.secret_file", text
    for name in hook.streams:
        if config.stream_named(name) is None:
            yield f"{key}.streams", f"there is no stream {name!r}"


def _of_streams(config: Config) -> Iterator[tuple[str, str]]:
    for stream in config.stream:
        if stream.relay not in config.relay:
            yield f"stream[{stream.name}].relay", _no_relay(config, stream.relay)
        if stream.retry and not stream.track:
            text = "needs track = true: what is not recorded cannot be sent again"
            yield f"stream[{stream.name}].retry", text
        if stream.retry and not stream.pattern and stream.headers is False:
            text = "needs a sender with % or headers: a resend without token and Retour-Ref would be taken for new mail"
            yield f"stream[{stream.name}].retry", text


def _no_relay(config: Config, name: str) -> str:
    return f"there is no relay {name!r}; there are {', '.join(config.relay)}"


def _not_executable(program: str) -> str:
    """What is wrong with a command's first word, if anything."""
    if not program.startswith("/"):
        return f"{program!r} is not a whole path; right would be one that begins with /"
    if not Path(program).is_file():
        return f"{program}: no such file"
    return "" if os.access(program, os.X_OK) else f"{program}: is not executable; right: chmod +x {program}"


def _secret_text(path: Path) -> str:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o007:
            raise _Fault(f"others can use {path} (mode {mode:04o}); right: chmod 0600 {path}")
        return path.read_text("utf-8")
    except OSError as error:
        raise _Fault(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _Fault(f"{path}: is not UTF-8 text") from error


def _keys(text: str) -> tuple[bytes, ...]:
    """One key a line; while keys are changed there are two, and both sign."""
    return tuple(_key(line.strip()) for line in text.splitlines() if line.strip()) or _none()


def _none() -> tuple[bytes, ...]:
    raise _Fault("holds no secret; right: (printf whsec_; openssl rand -base64 32) > FILE")


def _key(line: str) -> bytes:
    try:
        key = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise _Fault(f"holds no secret in base64 ({error})") from error
    if not line.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
        raise _Fault(f"a secret is whsec_ and {SHORTEST} to {LONGEST} octets in base64, one a line")
    return key


def _password(name: str, relay: RelaySection) -> dict[str, str]:
    if relay.password_file is None:
        return {}
    password = _secret_text(relay.password_file).strip()
    if not password:
        raise _Fault(f"{relay.password_file}: is empty")
    return {name: password}
