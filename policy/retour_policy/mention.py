"""Mention: finds an address in text, in each way that mail writes it, and takes it out. Pure."""

from __future__ import annotations

import re
from contextlib import suppress
from email.parser import BytesParser
from typing import Any

import idna

from retour_policy.address import domain_ascii, normalise

FORGOTTEN = "(forgotten)"
_RUN = re.compile(r"[a-z0-9.-]+")
_AT = r"(?:@|=40|%40)"  # as it is, in quoted-printable (RFC 2045 section 6.7), in a link (RFC 3986 section 2.1)


class Mention:
    """All ways to write one address: in any case, its domain in either script, and inside another one.

    `user=domain` is how XVERP puts it into a sender, `domain=user` how SRS does. A longer address that ends or begins
    with it is another one.
    """

    def __init__(self, address: str) -> None:
        local, _, domain = normalise(address).rpartition("@")
        self._domains = {domain_ascii(domain), domain}
        with suppress(idna.IDNAError, UnicodeError):
            self._domains.add(idna.decode(domain))
        self._local = local
        of = "|".join(map(re.escape, sorted(self._domains)))
        user = re.escape(local)
        ends = r"(?![\w-])(?!\.\w)"
        begins = r"(?<![\w.%+-])"
        inside = rf"(?<![\w.%-]){user}=(?:{of}){ends}|(?<![\w.-])(?:{of})={user}(?=@)"
        self._pattern = re.compile(rf"{begins}{user}{_AT}(?:{of}){ends}|{inside}", re.IGNORECASE)

    @property
    def needles(self) -> tuple[list[str], list[str]]:
        """ASCII texts: whatever mentions the address holds one of each list. For a first look by the database."""
        local, *domains = (max(_RUN.findall(text) or [""], key=len) for text in (self._local, *sorted(self._domains)))
        return [local], domains

    def is_in(self, text: str) -> bool:
        """Whether `text` mentions it."""
        return self._pattern.search(text) is not None

    def without(self, value: Any) -> Any:
        """A value as JSON holds it, with every mention replaced."""
        if isinstance(value, str):
            return self._pattern.sub(FORGOTTEN, value)
        if isinstance(value, list):
            return [self.without(one) for one in value]
        if isinstance(value, dict):
            return {name: self.without(one) for name, one in value.items()}
        return value

    def is_in_mail(self, raw: bytes) -> bool:
        """Whether a message mentions it, also in a part that is encoded."""
        if self.is_in(raw.decode("utf-8", "replace")):
            return True
        if b"base64" not in raw.lower():
            return False
        with suppress(RecursionError, ValueError, LookupError, TypeError):
            parts = [part.get_payload(decode=True) for part in BytesParser().parsebytes(raw).walk()]
            return any(isinstance(part, bytes) and self.is_in(part.decode("utf-8", "replace")) for part in parts)
        return True  # what cannot be read cannot be kept either
