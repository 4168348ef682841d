"""Languages: what the pages say, a file a language in data/languages, and which one a browser wants."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

FALLBACK = "en"
MAX_HEADER_CHARACTERS = 500  # of Accept-Language that are read


@dataclass(frozen=True)
class Language:
    """One language."""

    code: str
    """As in BCP 47; the name of its file."""
    texts: Mapping[str, str]


@cache
def languages() -> tuple[Language, ...]:
    """All there are: who adds a file adds a language."""
    folder = resources.files("retour_web") / "data/languages"
    files = sorted((file.name, file) for file in folder.iterdir() if file.name.endswith(".toml"))
    return tuple(Language(name.removesuffix(".toml"), tomllib.loads(file.read_text("utf-8"))) for name, file in files)


def choose(accept: str, among: Sequence[Language]) -> Language:
    """The language that the value of Accept-Language prefers (RFC 9110 section 12.5.4), else English."""
    by_code = {language.code: language for language in among}
    wanted = [_range(text) for text in accept[:MAX_HEADER_CHARACTERS].split(",")]
    for _, code in sorted(wanted, key=lambda pair: -pair[0]):
        weighed = by_code.get(code) or by_code.get(code.partition("-")[0])
        if weighed:
            return weighed
    return by_code[FALLBACK]


def _range(text: str) -> tuple[float, str]:
    """Weight and code of an item such as "de-AT;q=0.8"; without code where it is not wanted."""
    code, _, weight = text.partition(";")
    try:
        quality = float(weight.strip().removeprefix("q=") or 1)
    except ValueError:
        quality = 0.0
    return (quality, code.strip().lower()) if 0 < quality <= 1 else (0.0, "")
