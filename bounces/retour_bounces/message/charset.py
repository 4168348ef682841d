"""Character sets: bytes to text, whatever set is named, missing, wrong or made up."""

from __future__ import annotations

import codecs
from functools import lru_cache

_NO_TEXT = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem", "utf-7"}


def loose(raw: bytes) -> str:
    """`raw` as text: UTF-8 where it is that, else one character a byte."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def characters(raw: bytes, charset: str) -> str:
    """`raw` in the character set named, or in the likeliest where that is missing, wrong or made up."""
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    if b"\x1b$" in raw:
        charset = "iso-2022-jp"
    codec = _codec(charset.lower() or "utf-8")
    if codec:
        try:
            return raw.decode(codec, "strict" if codec == "utf-8" else "replace")
        except (ValueError, LookupError):
            pass
    return loose(raw)


@lru_cache(maxsize=256)
def _codec(charset: str) -> str | None:
    """Python's name for a character set, None for one that is made up or no text."""
    try:
        codec = codecs.lookup(charset[:60])
    except (LookupError, ValueError):
        return None
    return codec.name if codec.name not in _NO_TEXT and getattr(codec, "_is_text_encoding", True) else None
