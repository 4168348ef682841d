"""Encoded words: text outside ASCII in header fields (RFC 2047)."""

from __future__ import annotations

import binascii
import re

from retour_bounces.message.charset import characters

_WORD = re.compile(r"=\?([A-Za-z0-9*._-]{1,40})\?([BbQq])\?([^?\s]{0,400})\?=(?:[ \t\n]+(?==\?))?")


def decoded(value: str) -> str:
    """A header value with its encoded words (RFC 2047) resolved; what cannot be decoded stays."""
    return _WORD.sub(_decode_word, value) if "=?" in value else value


def _decode_word(match: re.Match[str]) -> str:
    try:
        if match[2] in "Bb":
            raw = binascii.a2b_base64(match[3] + "=" * (-len(match[3]) % 4))
        else:
            raw = binascii.a2b_qp(match[3].replace("_", " "), header=False)
    except (binascii.Error, ValueError):
        return match[0]
    return characters(raw, match[1].partition("*")[0])
