"""Address: the form in which e-mail addresses are compared, and the key under which they are stored."""

from __future__ import annotations

import hashlib
import hmac
import re

import idna

KEY_OCTETS = 16
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def normalise(address: str) -> str:
    """`address` (without <>) with its domain as lower-case A-label and its local part in lower case.

    Nothing else is folded: dots and +tags name different mailboxes at some hosts.
    """
    local, at, domain = address.strip().rpartition("@")
    return (local.lower() + at + domain_ascii(domain)) if at else domain.lower()


def domain_ascii(domain: str) -> str:
    """The lower-case A-label form of `domain` (RFC 5890); a name that has none is only put in lower case."""
    domain = domain.rstrip(".").lower()
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return domain


def domain_of(address: str) -> str:
    """The normalised domain of `address`, or an empty string."""
    return domain_ascii(address.rpartition("@")[2]) if "@" in address else ""


def address_key(secret: bytes, address: str) -> bytes:
    """The 16 octets that stand for `address` in the store: an HMAC, so that a forgotten address is still known."""
    octets = normalise(address).encode("utf-8", "surrogateescape")
    return hmac.digest(secret, octets, hashlib.sha256)[:KEY_OCTETS]


def is_address(text: str) -> bool:
    """Whether `text` could be a mailbox (RFC 5321 section 4.1.2), for what a person typed or a list holds."""
    local, _, domain = text.rpartition("@")
    if not local or not domain or _CONTROL.search(text):
        return False
    if len(local.encode()) > 64 or len(domain.encode()) > 255:
        return False
    if local.startswith('"'):
        return len(local) > 2 and local.endswith('"')
    return not re.search(r'[\s<>()\[\],;:\\"@]', local) and not re.search(r"[\s<>(),;\\\"@]", domain)
