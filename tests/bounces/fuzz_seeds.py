"""Seeds for the fuzzer: keeps in build/seeds what the tests read, when pytest runs with `-p fuzz_seeds`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import retour_bounces
from retour_bounces import Report, Rules

FOLDER = Path("build/seeds")
MAX_LENGTH = 30_000
"""Octets; the fuzzer makes nothing longer either."""
_read = retour_bounces.read


def read(data: bytes, *, rules: Rules | None = None) -> Report:
    """What the library's `read` does, and a copy of `data`."""
    if len(data) <= MAX_LENGTH:
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / hashlib.sha256(data).hexdigest()).write_bytes(data)
    return _read(data, rules=rules)


retour_bounces.read = read
