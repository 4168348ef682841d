"""Authentication: who has signed a returned message, by the mail server's own verifier or by its DKIM signatures. Pure.

A report that is signed is worth more than one that is not; a token is believed without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from email.utils import parseaddr

from retour_policy.address import domain_ascii, domain_of
from retour_policy.sanitize import clean

MAX_HEADER_OCTETS = 100_000
MAX_RESULTS = 20  # of one message that are read
MAX_SHOWN_CHARACTERS = 300
_COMMENT = re.compile(r"\([^()]*\)")
_RESULT = re.compile(r"^([a-z][a-z0-9-]{0,30})\s*(?:/\s*\d+\s*)?=\s*([a-z]{1,20})\b(.*)$", re.IGNORECASE | re.DOTALL)
_PROPERTY = re.compile(r"\b(header|smtp)\.([a-z0-9-]{1,40})\s*=\s*\"?([^\s\";]{1,320})", re.IGNORECASE)
_DOMAIN_OF = {"dkim": ("header.d", "header.i"), "dmarc": ("header.from",), "spf": ("smtp.mailfrom", "smtp.helo")}


@dataclass(frozen=True, slots=True)
class Authentication:
    """What is known about who has sent a message."""

    passed: tuple[str, ...] = ()
    """Methods that passed, each with the domain that it is about: "dkim=example.com"."""
    author: str = ""
    """The domain of its From field."""

    @property
    def is_signed(self) -> bool:
        """Whether a DKIM signature is valid and aligned with the author (RFC 7489 section 3.1.1, relaxed)."""
        domains = (one.partition("=")[2] for one in self.passed if one.startswith("dkim="))
        return any(is_aligned(domain, self.author) for domain in domains)

    def text(self) -> str:
        """To be kept with a fact."""
        return " ".join(self.passed)[:MAX_SHOWN_CHARACTERS]


def is_aligned(signer: str, author: str) -> bool:
    """Whether the domain of a signature is the author's, or one that it lies in; not one with a single label."""
    return bool(author) and "." in signer and (signer == author or author.endswith(f".{signer}"))


def by_verifier(raw: bytes, authserv_id: str) -> Authentication:
    """What the verifier that calls itself `authserv_id` found (RFC 8601).

    The verifier puts its fields on top of what came. So below the Received field that follows the first of them, one
    may be forged, and is not read, whatever the first said. A verifier that adds none, and leaves a forged one in,
    would deceive us: it must remove those with its own name (section 5).
    """
    passed: list[str] = []
    found = False
    for name, value in _fields(raw):
        if name == "received" and found:
            break
        if name == "authentication-results" and _server(value) == authserv_id:
            found = True
            passed += _passed(value)
    return Authentication(tuple(dict.fromkeys(passed))[:MAX_RESULTS], author_domain(raw))


def author_domain(raw: bytes) -> str:
    """The domain of the only From field of a message; empty where there are several, or none."""
    found = [value for name, value in _fields(raw) if name == "from"]
    return domain_of(parseaddr(found[0])[1]) if len(found) == 1 else ""


def _server(value: str) -> str:
    """The name of the verifier that wrote the field."""
    return (_COMMENT.sub("", value).partition(";")[0].split() or [""])[0]


def _passed(value: str) -> Iterator[str]:
    rest = _COMMENT.sub("", value).partition(";")[2]
    for one in rest.split(";")[:MAX_RESULTS]:
        found = _RESULT.match(one.strip())
        if found is None or found[2].lower() != "pass":
            continue
        method = found[1].lower()
        known = {f"{kind}.{name}".lower(): text for kind, name, text in _PROPERTY.findall(found[3])}
        text = next((known[name] for name in _DOMAIN_OF.get(method, ()) if name in known), None)
        if text:
            yield f"{method}={clean(domain_ascii(text.rpartition('@')[2]), 255)}"


def _fields(raw: bytes) -> list[tuple[str, str]]:
    head = raw[:MAX_HEADER_OCTETS].replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    return [
        (name.lower(), " ".join(str(value).split())) for name, value in BytesHeaderParser().parsebytes(head).items()
    ]
