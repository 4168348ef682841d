"""Load: reads the configuration file, and says for each error where it is and how to fix it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from retour_bounces import RuleError, Rules
from retour_policy import files
from retour_policy.config.consistency import contradictions
from retour_policy.config.model import Config
from retour_policy.config.problems import problems_of
from retour_policy.errors import ConfigError, Problem
from retour_policy.tokens.keyring import KeyRingFile

DEFAULT_PATH = "/etc/retour/retour.toml"
MAX_CONFIG_OCTETS = 1_000_000
BYTE_ORDER_MARK = "\ufeff"  # some editors begin UTF-8 with it


def load(path: Path) -> Config:
    """The configuration in the file `path`. Raises `ConfigError` with every problem found."""
    return parse(path, _read(path))


def parse(path: Path, text: str) -> Config:
    """The configuration that is, or will be, in the file `path`. Raises `ConfigError`."""
    return validate(path, _tables(path, text))


def validate(path: Path, data: dict[str, Any]) -> Config:
    """The configuration in the tables of `path`. Raises `ConfigError`."""
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(*problems_of(path, data, error)) from None
    problems = [Problem(str(path), key, text) for key, text in contradictions(config)]
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
        if file.exists() and not file.is_file():
            raise ConfigError(Problem(str(path), "lmtpd.rules", f"{file}: is not a regular file"))
        return Rules.from_file(str(file))
    except RuleError as error:
        raise ConfigError(Problem(str(path), "lmtpd.rules", str(error))) from error
    except OSError as error:
        raise ConfigError(Problem(str(path), "lmtpd.rules", f"{file}: {error.strerror}")) from error


def _tables(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = f"(at line {len(text.splitlines())}, the last one)"
        said = str(error).replace("(at end of document)", where)
        raise ConfigError(Problem(str(path), "", f"is not TOML: {said}")) from error
    except (ValueError, RecursionError) as error:  # Python's errors for huge numbers and deep nesting
        said = f"cannot be read as TOML: a number is too long, or something is nested too deep{_longest(text)}"
        raise ConfigError(Problem(str(path), "", said)) from error


def _longest(text: str) -> str:
    """Where that most likely is: Python does not say."""
    lines = text.splitlines()
    number = max(range(len(lines)), key=lambda n: len(lines[n]), default=0)
    return f" (probably at line {number + 1})"


def _read(path: Path) -> str:
    try:
        return files.read_regular(path, MAX_CONFIG_OCTETS).decode("utf-8").removeprefix(BYTE_ORDER_MARK)
    except FileNotFoundError as error:
        raise ConfigError(Problem(str(path), "", f"{error.strerror}; `retour init` writes one")) from error
    except OSError as error:
        raise ConfigError(Problem(str(path), "", f"cannot be read: {error.strerror}")) from error
    except UnicodeDecodeError as error:
        raise ConfigError(Problem(str(path), "", f"is not UTF-8 text (octet {error.start})")) from error
