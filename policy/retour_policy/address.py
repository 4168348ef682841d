"""Address: the form in which e-mail addresses are compared, and the key under which they are stored. Pure."""

from __future__ import annotations

import re
import unicodedata

import idna

from retour_policy.keyed_hash import keyed_hash

KEY_OCTETS = 16
MAX_LOCAL_PART_OCTETS = 64  # RFC 5321 section 4.5.3.1.1
MAX_DOMAIN_OCTETS = 255  # RFC 5321 section 4.5.3.1.2
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)+"')
_NO_LOCAL_PART = re.compile(r'[\s<>()\[\],;:\\"@]')
_NO_DOMAIN = re.compile(r"[\s<>(),;\\\"@]|^\.|\.\.|\.$")
_QUOTED_PART = re.compile(r'"(?:[^"\\]|\\.)*"')
_BETWEEN = re.compile(r'("(?:[^"\\]|\\.)*")|\((?:[^()\\"]|\\.)*\)|\s+')
_ROUTE = re.compile(r"\A@[^:\"]*:")
MAX_PATH_CHARACTERS = 2_048  # Postfix takes no longer line over SMTP; a longer path is left as it is
MAX_COMMENTS_DEEP = 5  # one in the other; what nests deeper is left as it is
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


def normalise(address: str) -> str:
    """`address` (without <>) with its domain as lower-case A-label and its local part in lower case.

    The local part has no quotes that it does not need (RFC 5321 section 4.1.2), and its Unicode is composed (form C,
    RFC 5198 section 3). Nothing else is folded: dots and +tags name different mailboxes at some hosts.
    """
    local, at, domain = address.strip().rpartition("@")
    return (_folded(local) + at + domain_ascii(domain)) if at else domain.lower()


def _folded(local: str) -> str:
    plain = quoted(unquoted(local)) if _QUOTED.fullmatch(local) else local
    return plain.lower() if plain.isascii() else _composed(_composed(plain).lower())


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def mailbox(path: str) -> str:
    """The mailbox in what a client wrote as a path, as a mail server reads it: the address without <>.

    Left out are comments, white space, a source route (RFC 5321 appendix C) and needless quotes; `host!user` and
    `user%host` without a domain become `user@host`, as Postfix has it (swap_bangpath, allow_percent_hack).
    """
    text = path.strip()
    text = text[1:-1] if text.startswith("<") and text.endswith(">") else text
    if len(text) > MAX_PATH_CHARACTERS:
        return text
    text = _ROUTE.sub("", _without_comments(text), count=1)
    local, at, domain = text.rpartition("@")
    if '"' in domain:  # the @ stands between quotes, and there is no domain
        local, at, domain = text, "", ""
    elif not at:
        local, at, domain = _unrouted(domain)
    return quoted(_QUOTED_PART.sub(lambda part: unquoted(part[0]), local)) + at + re.sub(r"\.+\Z", "", domain)


def _without_comments(text: str) -> str:
    for _ in range(MAX_COMMENTS_DEEP):
        shorter = _BETWEEN.sub(lambda found: found[1] or "", text)
        if shorter == text:
            break
        text = shorter
    return text


def _unrouted(text: str) -> tuple[str, str, str]:
    """Local part, @ and domain of an address that names its host without an @, or none at all."""
    host, bang, user = text.partition("!")
    if bang:
        return user, "@", host
    user, percent, host = text.rpartition("%")
    return (user, "@", host) if percent else (text, "", "")


def unquoted(local: str) -> str:
    """A local part without its quotes, where it has any (RFC 5321 section 4.1.2)."""
    return re.sub(r"\\(.)", r"\1", local[1:-1]) if _QUOTED.fullmatch(local) else local


def quoted(local: str) -> str:
    """A local part with quotes, where it needs them."""
    return '"' + re.sub(r'(["\\])', r"\\\1", local) + '"' if _NO_LOCAL_PART.search(local) else local


def domain_ascii(domain: str) -> str:
    """The lower-case A-label form of `domain` (RFC 5890); a name without one is only put in lower case."""
    domain = re.sub(r"[.\s]+\Z", "", domain).lower()
    if domain.isascii() or len(domain) > MAX_DOMAIN_OCTETS:
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return domain


def domain_of(address: str) -> str:
    """The normalised domain of `address`, or an empty string."""
    return domain_ascii(address.rpartition("@")[2]) if "@" in address else ""


def address_key(secret: bytes, address: str) -> bytes:
    """The 16 octets that stand for `address` in the store: an HMAC, so that an erased address is still known."""
    octets = normalise(address).encode("utf-8", "surrogatepass")  # never fails, because a report can name anything
    return keyed_hash(secret, octets)[:KEY_OCTETS]


def secret_fingerprint(secret: bytes) -> bytes:
    """The 16 octets by which the secret of `address_key` is recognised; they tell nothing about it."""
    return keyed_hash(secret, b"\0fingerprint")[:KEY_OCTETS]  # no address begins with NUL


def is_address(text: str) -> bool:
    """Whether `text` could be a mailbox (RFC 5321 section 4.1.2), for what a person typed or a list contains."""
    local, _, domain = text.rpartition("@")
    if not local or not domain or _UNFIT.search(text) or _NO_DOMAIN.search(domain):
        return False
    if len(local.encode()) > MAX_LOCAL_PART_OCTETS or len(domain.encode()) > MAX_DOMAIN_OCTETS:
        return False
    return bool(_QUOTED.fullmatch(local)) or not _NO_LOCAL_PART.search(local)


def without_tag(address: str) -> str:
    """`address`, normalised, without the +tag of its local part (RFC 5233), and without quotes."""
    local, at, domain = normalise(address).rpartition("@")
    local = unquoted(local)
    return (local.partition("+")[0] or local) + at + domain


def is_same_mailbox(one: str, other: str) -> bool:
    """Whether a server may mean the same mailbox by both: a +tag and the name of a host of the domain do not matter."""
    (local, _, domain), (other_local, _, other_domain) = (without_tag(text).rpartition("@") for text in (one, other))
    short, long = sorted((domain, other_domain), key=len)
    return local == other_local and (short == long or ("." in short and long.endswith(f".{short}")))


def is_domain(text: str) -> bool:
    """Whether `text` is a host name of two labels or more, as A-labels (RFC 5890), in lower case."""
    labels = text.split(".")
    return len(labels) > 1 and len(text) < MAX_DOMAIN_OCTETS and all(_LABEL.fullmatch(label) for label in labels)
