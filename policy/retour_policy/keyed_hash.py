"""Keyed hash: HMAC-SHA-256 (RFC 2104) of short texts, of which each message needs several.

`hmac.digest` lets other threads take over each time, and the message would wait for its turn again.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

MAX_KEYS = 64  # whose first step is kept


def keyed_hash(key: bytes, octets: bytes) -> bytes:
    """The 32 octets."""
    begun = _begun(key).copy()
    begun.update(octets)
    return begun.digest()


@lru_cache(MAX_KEYS)
def _begun(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod=hashlib.sha256)
