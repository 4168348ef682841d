"""Load: reads the configuration file, and says of each fault where it is and what would be right."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from retour_bounces import RuleError, Rules
from retour_policy.address import domain_ascii
from retour_policy.config.model import Config, in_bounce_domain
from retour_policy.config.secrets import contradictions
from retour_policy.core.decide import RuleSet
from retour_policy.errors import ConfigError, Problem
from retour_policy.tokens.keyring import KeyRingFile

DEFAULT_PATH = "/etc/retour/retour.toml"
_WORDS = {
    "missing": "is missing, and there is no default",
    "string_type": "is not text; right would be text in quotes",
    "int_type": "is not a whole number; right would be a number without quotes",
    "bool_type": "is neither true nor false, without quotes",
    "tuple_type": 'is not a list; right would be something like ["a", "b"]',
    "dict_type": "is not a table; right would be something like {{ name = value }}",
    "model_type": "is not a table; right would be a heading such as [{key}] with keys below it",
    "path_type": "is not a path; right would be a path in quotes",
    "literal_error": "is not {expected}",
    "greater_than_equal": "is too small; right is {ge} or more",
    "less_than_equal": "is too large; right is {le} or less",
    "too_short": "is an empty list; right is one value or more, or to leave the key out",
}
"""What pydantic's error types mean to a postmaster."""


def load(path: Path) -> Config:
    """The configuration in the file `path`. Raises `ConfigError` with every problem found."""
    return parse(path, _read(path))


def parse(path: Path, text: str) -> Config:
    """The configuration that stands, or shall stand, in the file `path`. Raises `ConfigError`."""
    return validate(path, _tables(path, text))


def validate(path: Path, data: dict[str, Any]) -> Config:
    """The configuration that the tables of `path` hold. Raises `ConfigError`."""
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(*_problems(path, data, error)) from None
    problems = [Problem(str(path), key, text) for key, text in _contradictions(config)]
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


def load_rules(path: Path, config: Config) -> Rules:
    """The bundled rules for reading returned mail, and before them the operator's. Raises `ConfigError`."""
    file = config.lmtpd.rules
    if file is None:
        return Rules.bundled()
    try:
        return Rules.from_file(str(file))
    except RuleError as error:
        raise ConfigError(Problem(str(path), "lmtpd.rules", str(error))) from error
    except OSError as error:
        raise ConfigError(Problem(str(path), "lmtpd.rules", f"{file}: {error.strerror}")) from error


def _tables(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(Problem(str(path), "", f"is not TOML: {error}")) from error
    except (ValueError, RecursionError) as error:  # what Python has to say of huge numbers and of depth
        text = "is not TOML that can be read: a number is too long, or something is nested too deep"
        raise ConfigError(Problem(str(path), "", text)) from error


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(Problem(str(path), "", f"{error.strerror}; `retour init` writes one")) from error
    except OSError as error:
        raise ConfigError(Problem(str(path), "", f"cannot be read: {error.strerror}")) from error
    except UnicodeDecodeError as error:
        raise ConfigError(Problem(str(path), "", f"is not UTF-8 text (octet {error.start})")) from error


def _problems(path: Path, data: dict[str, Any], error: ValidationError) -> list[Problem]:
    # A list with a faulty value counts as too short as well, and is not.
    faults = [fault for fault in error.errors() if not (fault["type"] == "too_short" and fault["input"])]
    return [_problem(path, data, fault) for fault in faults]


def _problem(path: Path, data: dict[str, Any], fault: Any) -> Problem:
    parts = [part for part in fault["loc"] if not str(part).startswith(("function-", "literal[", "tuple["))]
    key, kind, context = key_text(data, parts), fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        return Problem(str(path), key, _unknown(parts))
    if kind == "value_error":
        return Problem(str(path), key, str(context["error"]))
    if kind == "tuple_type" and key == "stream":
        return Problem(str(path), key, "is one table; right would be [[stream]], as there can be several")
    words = _WORDS[kind].format(key=key, **context) if kind in _WORDS else f"is wrong: {fault['msg']}"
    given = json.dumps(fault["input"], default=str) if kind not in ("missing", "too_short") else ""
    return Problem(str(path), key, f"{given} {words}" if 0 < len(given) < 60 else words)


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
        fields = getattr(model, "model_fields", {})
        if part in fields:  # else it is a place in a list, or a name that the postmaster gave
            model = _model_of(fields[part].annotation)
    known = list(getattr(model, "model_fields", {}))
    near = difflib.get_close_matches(str(parts[-1]), known, 1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; there are {', '.join(known)}"


def _model_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_model_of(argument) for argument in getattr(annotation, "__args__", ())]
    return next((model for model in inner if model is not None), None)


def _contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """What each key by itself may be and all together may not: key and words."""
    names = [stream.name for stream in config.stream]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"stream[{name}].name", "two streams have this name; right is one of each"
    if in_bounce_domain(config, config.lmtpd.postmaster):
        text = "lies in a bounce domain, so that mail to it would come back here; right is a mailbox elsewhere"
        yield "lmtpd.postmaster", text
    for domain in config.lmtpd.mailbox_domains:
        if domain_ascii(domain) not in config.pattern_domains:
            text = f"{domain} is the domain of no stream's pattern; right is one that is, or to leave it out"
            yield "lmtpd.mailbox_domains", text
    sockets = (*config.lmtpd.listen, config.lmtpd.lookup)
    if any(socket.startswith("inet:") for socket in sockets) and not config.lmtpd.allow:
        text = 'is missing, and a TCP listener needs it; right would be the mail server\'s network, as ["192.0.2.1"]'
        yield "lmtpd.allow", text
    yield from _shared_sockets(config)
    yield from _short_windows("policy", config.rules(None))
    for stream in config.stream:
        yield from _short_windows(f"stream[{stream.name}].policy", config.rules(stream))
    yield from _sides_twice(config)
    if config.storm.lapse_after <= config.storm.settle_after:
        yield "storm.lapse_after", "is not longer than settle_after, so what a storm holds would never count"
    if "default" not in config.relay:
        yield "relay.default", "is missing; streams without one of their own use it"
    yield from contradictions(config)


def _short_windows(key: str, rules: RuleSet) -> Iterator[tuple[str, str]]:
    """Spans that leave no room for what they are to hold."""
    for name in ("pause", "soft_span", "network_span"):
        if rules.forget_after and rules.forget_after <= getattr(rules, name):
            yield f"{key}.forget_after", f"is not longer than {name}, so nothing would ever come together"
    if rules.hard_for and rules.hard_for < rules.pause:
        yield f"{key}.hard_for", "is shorter than pause; right is a suppression that outlasts a pause"


def _sides_twice(config: Config) -> Iterator[tuple[str, str]]:
    seen: dict[str, str] = {}
    for side, domains in config.sides.items():
        for domain in map(domain_ascii, domains):
            if domain in seen:
                yield f"sides.{side}", f"{domain} is in {seen[domain]} too; right is one side for each domain"
            seen[domain] = side


def _shared_sockets(config: Config) -> Iterator[tuple[str, str]]:
    wanted = [("milter.socket", config.milter.socket), ("lmtpd.lookup", config.lmtpd.lookup)]
    wanted += [("lmtpd.listen", listen) for listen in config.lmtpd.listen]
    seen: dict[str, str] = {}
    for key, socket in wanted:
        if socket in seen:
            yield key, f"{socket} is {seen[socket]} too; right is a socket of its own for each"
        seen[socket] = key
