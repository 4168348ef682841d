"""Addresses: finds and cleans the e-mail addresses that reports name."""

from __future__ import annotations

import re
from collections.abc import Callable

from retour_bounces.message.encoded_word import decoded

_WIDE = "：，；。、（）「」『』【】《》〈〉“”！？"
"""Punctuation of Chinese and Japanese, which stands without spaces around it."""
_LOCAL = rf'(?:"[^"\n\r]{{1,100}}"|[^\s<>()\[\],;:@"\\|{_WIDE}]{{1,256}})'
_DOMAIN = rf"(?:\[[0-9A-Fa-f.:IPv]{{3,45}}\]|[^\s<>()\[\],;:@\"\\|/'`=?!*&%$#~{{}}^{_WIDE}]{{1,255}})"
ADDRESS = rf"(?<![^\s<>()\[\],;:=\"'|{_WIDE}]){_LOCAL}@{_DOMAIN}"
"""Regular expression of an address in running text; it begins only where a word begins, so a scan is linear."""

FIND = re.compile(ADDRESS)
_TIDY = re.compile(
    r"(?!smtp=|imceasmtp-)[\w.+=-]{1,64}@(?=[a-z0-9])(?:[a-z0-9-]{1,63}\.){0,5}[a-z0-9]{1,63}", re.ASCII | re.IGNORECASE
)
"""What nearly all addresses look like that need no tidying."""
_PLAIN = re.compile(
    r"(?<![A-Za-z0-9_.+-])[A-Za-z][A-Za-z0-9_.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9.-])"
)
_TYPE = re.compile(r"^\s*([A-Za-z0-9-]+(?:\s*\([^)]{0,40}\))?)\s*[;/:]\s*(.*)$", re.DOTALL)
_FURTHER_TYPE = re.compile(r"(?:[\s<\[\"';]{0,4}(?:rfc822|smtp|internet|utf-8)\s?[;:]){1,5}|;", re.IGNORECASE)
"""What programs put in front of an address without looking whether it has a type already."""
_ODD = re.compile(r"[\s()\[\]<>\"',;]")
"""What stands around an address, and in few of them."""
_ESCAPE = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_ENCAPSULATED = re.compile(r"\+([0-9A-Fa-f]{2})")
"""How Exchange writes a character of another system's address inside one of its own."""
_ROUTE = re.compile(r"^(?:@[^,:@\s]{1,255},?){1,10}:")
_TRAILING = ".,;:'`\")>]}"


def set_apart(text: str) -> str:
    """`text` with spaces around addresses that stand between words of scripts without spaces."""
    return _PLAIN.sub(_with_spaces, text)


def _with_spaces(match: re.Match[str]) -> str:
    start, end = match.span()
    around = match.string[max(0, start - 1) : start] + match.string[end : end + 1]
    return f" {match[0]} " if any(c >= "\u2e80" and c.isalpha() for c in around) else match[0]


def tidy(word: str) -> str | None:
    """`word` without brackets, quotes, a source route and closing punctuation; None where no address is
    left."""
    if _TIDY.fullmatch(word):
        return word
    if "=?" in word:
        word = decoded(word)
    word = word.strip().strip("<>'`\u2018\u2019\u201c\u201d").strip()
    word = _ROUTE.sub("", word)
    if word.lower().startswith(("mailto:", "smtp:", "smtp=")):
        word = word[5:] if word[4] in ":=" else word[7:]
    if word[:10].lower() == "imceasmtp-" and "@" in word:
        word = _ENCAPSULATED.sub(lambda match: chr(int(match[1], 16)), word[10 : word.rindex("@")])
    word = word.rstrip(_TRAILING if "@[" not in word else _TRAILING.replace("]", ""))
    local, at, domain = word.rpartition("@")
    if not at or not local or not domain or len(word) > 512 or ".." in domain:
        return None
    if not word.isprintable() or domain[0] in ".-" or not (domain[0].isalnum() or domain[0] == "["):
        return None
    return word


def written(text: str) -> list[str]:
    """All that looks like an address in `text`, as it is written, in order."""
    return [found for word in _with_at(text) for found in FIND.findall(word)]


def replaced(text: str, by: str | Callable[[re.Match[str]], str]) -> str:
    """`text` with something else in the place of each address."""
    if '"@' in text:
        return FIND.sub(by, text)
    return " ".join([FIND.sub(by, word) if "@" in word else word for word in text.split(" ")])


def _with_at(text: str) -> list[str]:
    """The words in which an address may be; the whole text where a quoted local part may hold spaces."""
    if "@" not in text:
        return []
    return [text] if '"@' in text else [word for word in text.split(" ") if "@" in word]


def first(text: str) -> str | None:
    """The first address in `text`, or None."""
    return next(filter(None, map(tidy, written(text))), None)


def every(text: str) -> list[str]:
    """All addresses in `text`, each once (compared without case), in order."""
    found: dict[str, str] = {}
    for one in written(text):
        word = tidy(one)
        if word:
            found.setdefault(word.lower(), word)
    return list(found.values())


def typed(value: str) -> tuple[str, str]:
    """The type and the address of a recipient field such as "rfc822; user@example.com" (RFC 3464 section
    2.3.1).

    Takes `rfc822/user@...`, a missing type, one that is there twice, comments, quotes and brackets. A `utf-8` address
    (RFC 6533 section 3) comes back with its `\\x{...}` escapes resolved. What holds no address comes back as it is,
    cleaned of space.
    """
    kind, rest = "rfc822", value
    if (match := _TYPE.match(value)) and "@" not in match[1]:
        kind, rest = match[1].lower(), match[2]
    rest = rest.strip()
    if _TIDY.fullmatch(rest):
        return kind, rest
    if further := _FURTHER_TYPE.match(rest):
        rest = rest[further.end() :].strip()
    if "\\x{" in rest:
        rest = _ESCAPE.sub(_unescape, rest)
    if kind == "x400":
        return kind, rest
    bare = None if _ODD.search(rest) else tidy(rest)
    return kind, bare or first(rest) or tidy(rest.split("(")[0]) or rest.strip("<> ")


def _unescape(match: re.Match[str]) -> str:
    number = int(match[1], 16)
    return chr(number) if 0x20 < number < 0x110000 and not 0xD800 <= number < 0xE000 else match[0]
