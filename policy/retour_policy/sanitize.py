"""Clean: makes text from outside fit for a database, a log and a terminal."""

from __future__ import annotations

import re
from typing import Any

_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
LONGEST = 1_000  # characters of one value


def clean(text: str, longest: int = LONGEST) -> str:
    """`text` without NUL, other control characters and lone surrogates, and not longer than `longest`."""
    return _UNFIT.sub("\ufffd", text[:longest])


def clean_values(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with every text cleaned."""
    return {name: clean(value) if isinstance(value, str) else value for name, value in values.items()}
