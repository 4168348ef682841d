"""Lists: the values of main.cf, divided as Postfix divides them, with their names expanded. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_EXPANSIONS = 20  # one in the other: a setting that names itself has no end
_NAME = re.compile(r"\$(?:(\w+)|\{(\w+)\}|\((\w+)\))")
_SEPARATORS = " \t\r\n,"


def split_list(text: str) -> list[str]:
    """The elements of a list: between commas and white space, but not within braces (postconf(5))."""
    found, word, depth = [], "", 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if character in _SEPARATORS and depth <= 0:
            found += [word] if word else []
            word = ""
        else:
            word += character
    return found + ([word] if word else [])


def expand(text: str, values: Mapping[str, str]) -> str:
    """`text` with `$name`, `${name}` and `$(name)` replaced; what is unknown, or a condition, stays."""

    def value(found: re.Match[str]) -> str:
        return values.get(found[1] or found[2] or found[3], found[0])

    for _ in range(MAX_EXPANSIONS):
        further = _NAME.sub(value, text)
        if further == text:
            break
        text = further
    return text


def in_braces(element: str) -> tuple[str, dict[str, str]]:
    """The first word of an element `{ word, name=value, ... }`, and its settings; of a plain one, the element."""
    if not element.startswith("{"):
        return element, {}
    first, *rest = split_list(re.sub(r"\s*=\s*", "=", element[1:-1])) or [""]
    pairs = [part.strip("{} ").partition("=") for part in rest]
    return first, {name.strip(): value.strip() for name, _, value in pairs}
