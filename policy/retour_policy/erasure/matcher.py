"""Matcher: finds an address in text, in each way that mail writes it, and takes it out. Pure."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import idna

from retour_policy.address import domain_ascii, normalise
from retour_policy.erasure.decodings import readings

ERASED = "(erased)"  # replaces an address in the store
_RUN = re.compile(r"[a-z0-9.-]+")
# As it is, in quoted-printable (RFC 2045 section 6.7), in a link (RFC 3986 section 2.1) or a link in one, in HTML.
_AT = r"(?:@|=40|%(?:25)?40|&#0*64;|&#x0*40;|&commat;)"
# Octets that can precede an address and are written as an escape: white space, brackets, quotes ...
_ENDING = r"(?:0[9AD]|2[0-46-9ACF]|3[A-F]|5[B-E]|60|7[B-E])"
# After `=` in capitals only, as RFC 2045 has it: more often than not other hexadecimal digits are letters there.
_AFTER_ESCAPE = rf"(?<=%{_ENDING})|(?<=%25{_ENDING})|(?<=(?-i:={_ENDING}))"


class AddressMatcher:
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
        domains = "|".join(map(_escaped, sorted(self._domains)))
        user = _escaped(local)
        ends = r"(?![\w-])(?!\.\w)"
        begins, begins_verp = rf"(?:(?<![\w.%+-])|{_AFTER_ESCAPE})", rf"(?:(?<![\w.%-])|{_AFTER_ESCAPE})"
        inside = rf"{begins_verp}{user}=(?:{domains}){ends}|(?<![\w.-])(?:{domains})={user}(?=@)"
        self._pattern = re.compile(rf"{begins}{user}{_AT}(?:{domains}){ends}|{inside}", re.IGNORECASE)

    @property
    def needles(self) -> tuple[list[str], list[str]]:
        """ASCII texts: everything that mentions the address contains one of each list. A first filter."""
        local, *domains = (max(_RUN.findall(text) or [""], key=len) for text in (self._local, *sorted(self._domains)))
        return [local], domains

    def matches(self, text: str) -> bool:
        """Whether `text` mentions it."""
        return self._pattern.search(text) is not None

    def redact(self, value: Any) -> Any:
        """A JSON value, with every mention replaced by `ERASED`."""
        if isinstance(value, str):
            return self._pattern.sub(ERASED, value)
        if isinstance(value, list):
            return [self.redact(one) for one in value]
        if isinstance(value, dict):
            return {name: self.redact(one) for name, one in value.items()}
        return value

    def may_match(self, raw: bytes) -> bool:
        """Whether octets that are not encoded can mention it at all: quick, and rarely true."""
        lower = raw.lower()
        return all(any(needle.encode() in lower for needle in one_of) for one_of in self.needles)

    def matches_mail(self, raw: bytes) -> bool:
        """Whether a message mentions it, also where it is encoded. What cannot be decoded is read as it is."""
        return any(self._matches_reading(one) for one in readings(raw))

    def _matches_reading(self, raw: bytes) -> bool:
        plain = raw.replace(b"\0", b"")  # UTF-16
        if not self.may_match(plain):
            return False
        encodings = ("utf-8",) if self._local.isascii() else ("utf-8", "latin-1")
        return any(self.matches(plain.decode(encoding, "replace")) for encoding in encodings)


def _escaped(name: str) -> str:
    """The pattern for `name`: a link or quoted-printable may write all but letters, digits and `-._` as escapes."""
    return "".join(re.escape(one) if re.fullmatch(r"[a-z0-9._-]", one) else _either(one) for one in name)


def _either(one: str) -> str:
    octets = one.encode("utf-8", "replace")
    ways = [re.escape(one), *("".join(f"{sign}{octet:02X}" for octet in octets) for sign in ("=", "%", "%25"))]
    return f"(?:{'|'.join(ways)})"
