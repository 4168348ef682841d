"""VERP: the pattern of an envelope sender, with one `%` in place of the token."""

from __future__ import annotations

import re
from dataclasses import dataclass

from retour_policy.address import MAX_LOCAL_PART_OCTETS, domain_ascii, is_domain, quoted, unquoted
from retour_policy.tokens import token

MAX_SRS_OCTETS = 51  # of a whole address; forwarders that rewrite by SRS cut longer ones
_ATOM = re.compile(r"[a-z0-9!#$&'*+/=?^_`{|}~.-]*")  # RFC 5322 section 3.2.3, without the %


@dataclass(frozen=True, slots=True)
class Unverified:
    """What the local part of a returned VERP address contains; the signature is not verified yet."""

    token: str
    recipient: str | None
    """The recipient that Postfix's XVERP put after the token: a hint, not signed."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """`b-%@bounces.example.com`, parsed; all in lower case."""

    prefix: str
    suffix: str
    domain: str

    @classmethod
    def parse(cls, text: str, length: int = token.LENGTH) -> Pattern:
        """The pattern in `text`, for tokens of `length` characters. Raises `ValueError` that says how to fix it."""
        local, _, domain = text.rpartition("@")
        if not local or not domain:
            raise ValueError("not an address; for example b-%@bounces.example.com")
        if local.count("%") != 1 or "%" in domain:
            raise ValueError(f"has {text.count('%')} % signs; use exactly one, left of the @")
        prefix, _, suffix = local.lower().partition("%")
        pattern = cls(prefix, suffix, domain_ascii(domain))
        _check_characters(pattern)
        octets = pattern.local_part_octets(length)
        if octets > MAX_LOCAL_PART_OCTETS:
            raise ValueError(
                f"its local part would have {octets} octets with the token; "
                f"the maximum is {MAX_LOCAL_PART_OCTETS}; shorten it by {octets - MAX_LOCAL_PART_OCTETS}"
            )
        return pattern

    def local_part_octets(self, length: int) -> int:
        """Octets of a local part with a token of `length` characters."""
        return len(self.prefix.encode()) + length + len(self.suffix.encode())

    def address(self, text: str) -> str:
        """The envelope sender that carries the token `text`."""
        return f"{self.prefix}{text}{self.suffix}@{self.domain}"

    def length(self) -> int:
        """Octets of a whole address made from this pattern."""
        return len(self.address("x" * token.LENGTH).encode())

    def match(self, address: str, length: int = token.LENGTH) -> Unverified | None:
        """What `address` contains if this pattern could have made it with a token of `length` characters, else None.

        Nothing is verified.
        """
        local, _, domain = address.rpartition("@")
        local = unquoted(local)  # mail servers put quotes around all of it where XVERP's part needs them
        end = len(self.prefix) + length
        if domain_ascii(domain) != self.domain or not local.lower().startswith(self.prefix):
            return None
        found, behind = local[len(self.prefix) : end], local[end:]
        ours = local[: end + len(self.suffix)]
        if len(found) != length or not ours.isascii() or not behind.lower().startswith(self.suffix):
            return None  # the Kelvin sign in lower case is a k, but no token contains it
        return self._unverified(found, behind[len(self.suffix) :])

    @staticmethod
    def _unverified(found: str, behind: str) -> Unverified | None:
        if not behind:
            return Unverified(found, None)
        if behind[0] not in "+-" or "=" not in behind:
            return None
        local, _, domain = behind[1:].rpartition("=")
        return Unverified(found, f"{quoted(local)}@{domain}")


def _check_characters(pattern: Pattern) -> None:
    """Refuse what other mail servers would not accept in an envelope sender."""
    if not _ATOM.fullmatch(pattern.prefix + pattern.suffix) or pattern.prefix.startswith("."):
        raise ValueError(
            "its local part has characters other than ASCII letters, digits and . _ - + =; for example b-%@..."
        )
    if not is_domain(pattern.domain):
        raise ValueError("its domain is not valid; for example b-%@bounces.example.com")
