"""Sanitize: makes text from outside fit for a database, a log and a terminal. Pure."""

from __future__ import annotations

import re
from typing import Any

_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
MAX_CHARACTERS = 1_000  # of one value


def clean(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """`text` without NUL, other control characters and lone surrogates, and not longer than `max_characters`."""
    return _UNFIT.sub("\ufffd", text[:max_characters])


def clean_values(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with every text cleaned."""
    return {name: clean(value) if isinstance(value, str) else value for name, value in values.items()}
