"""Load: reads the configuration file, and says of each fault where it is and what would be right."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from retour_policy.config import Config, in_bounce_domain
from retour_policy.errors import ConfigError, Problem
from retour_policy.keyring import KeyRingFile
from retour_policy.targets import contradictions

DEFAULT_PATH = "/etc/retour/retour.toml"
_RIGHT = {
    "string_type": "right would be text in quotes",
    "int_type": "right would be a whole number without quotes",
    "bool_type": "right would be true or false",
    "tuple_type": 'right would be a list, such as ["a", "b"]',
    "dict_type": "right would be a table",
    "model_type": "right would be a table",
    "path_type": "right would be a path in quotes",
}


def load(path: Path) -> Config:
    """The configuration in the file `path`. Raises `ConfigError` with every problem found."""
    data = _parse(path)
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(*(_problem(path, data, fault) for fault in error.errors())) from None
    problems = _contradictions(str(path), config)
    if problems:
        raise ConfigError(*problems)
    return config


def load_keyring(path: Path, config: Config) -> KeyRingFile:
    """The key ring that the configuration in `path` names. Raises `ConfigError`."""
    try:
        return KeyRingFile(config.tokens.keyring)
    except ConfigError as error:
        text = str(error.problems[0])
        raise ConfigError(Problem(str(path), "tokens.keyring", text)) from error


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(Problem(str(path), "", f"{error.strerror}; `retour init` writes one")) from error
    except UnicodeDecodeError as error:
        raise ConfigError(Problem(str(path), "", f"is not UTF-8 text (octet {error.start})")) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(Problem(str(path), "", f"is not TOML: {error}")) from error


def _problem(path: Path, data: dict[str, Any], fault: Any) -> Problem:
    parts = [part for part in fault["loc"] if not str(part).startswith(("function-", "literal[", "tuple["))]
    key = key_text(data, parts)
    kind = fault["type"]
    if kind == "extra_forbidden":
        return Problem(str(path), key, _unknown(parts))
    if kind == "missing":
        return Problem(str(path), key, "is missing")
    if kind == "value_error":
        return Problem(str(path), key, str(fault["ctx"]["error"]))
    given = repr(fault["input"])
    said = f"{given if len(given) < 60 else 'its value'} is wrong: {fault['msg']}"
    return Problem(str(path), key, f"{said}; {_RIGHT[kind]}" if kind in _RIGHT else said)


def key_text(data: Any, parts: Sequence[object]) -> str:
    """`stream[newsletter].match.sender` for the path of keys and list places to a value."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            data = data[part] if isinstance(data, list) and part < len(data) else None
            name = data.get("name") if isinstance(data, dict) else None
            text += f"[{name if isinstance(name, str) else part + 1}]"
        else:
            data = data.get(part) if isinstance(data, dict) else None
            text += f".{part}" if text else str(part)
    return text


def _unknown(parts: Sequence[object]) -> str:
    model: Any = Config
    for part in parts[:-1]:
        if isinstance(part, str) and isinstance(model, type) and issubclass(model, BaseModel):
            model = _model_of(model.model_fields[part].annotation)
    known = list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    near = difflib.get_close_matches(str(parts[-1]), known, 1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; there are {', '.join(known)}"


def _model_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_model_of(argument) for argument in getattr(annotation, "__args__", ())]
    return next((model for model in inner if model is not None), None)


def _contradictions(file: str, config: Config) -> list[Problem]:
    problems = []
    names = [stream.name for stream in config.stream]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(Problem(file, f"stream[{name}].name", "two streams have this name; right is one of each"))
    if in_bounce_domain(config, config.lmtpd.postmaster):
        text = "lies in a bounce domain, so that mail to it would come back here; right is a mailbox elsewhere"
        problems.append(Problem(file, "lmtpd.postmaster", text))
    if any(listen.startswith("inet:") for listen in config.lmtpd.listen) and not config.lmtpd.allow:
        text = 'is missing, and a TCP listener needs it; right would be the mail server\'s network, as ["192.0.2.1"]'
        problems.append(Problem(file, "lmtpd.allow", text))
    if "default" not in config.relay:
        problems.append(Problem(file, "relay.default", "is missing; streams without one of their own use it"))
    return [*problems, *contradictions(file, config)]
