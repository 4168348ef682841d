"""Fuzzes configuration files: `python tests/fuzz/fuzz_config.py [libFuzzer options] [seed folders]`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["retour_policy.config", "tomllib"]):
    from retour_policy.config.load import parse
    from retour_policy.errors import ConfigError

PATH = Path("/etc/retour/retour.toml")


def one_input(data: bytes) -> None:
    """Any text is a configuration, or its problems are listed in printable words."""
    try:
        parse(PATH, data.decode("utf-8", "replace"))
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            str(problem).encode("utf-8")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
