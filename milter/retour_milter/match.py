"""Match: which stream a message belongs to, by what is known so far. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from retour_policy import networks
from retour_policy.config.model import Match, Stream

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Origin:
    """The client that submits a message."""

    client: str | None
    """IP address; None for sendmail(1)."""
    login: str | None
    sender: str
    """Envelope sender without <>; empty for the null sender."""


@dataclass(frozen=True, slots=True)
class Found:
    """The stream of a message, if any; `decided` is False while header fields could still tell."""

    stream: Stream | None
    decided: bool = True


def find_stream(streams: Iterable[Stream], origin: Origin, headers: Sequence[Header] | None) -> Found:
    """The first stream that matches. `headers` is None while they are not known.

    A stream that needs a header field leaves those below it undecided until the header is known.
    """
    for stream in streams:
        if not _envelope_matches(stream.match, origin):
            continue
        if not stream.match.header:
            return Found(stream)
        if headers is None:
            return Found(None, decided=False)
        if all(_header_matches(name, wanted, headers) for name, wanted in stream.match.header.items()):
            return Found(stream)
    return Found(None)


def _envelope_matches(match: Match, origin: Origin) -> bool:
    if match.sender and not _any(match.sender, origin.sender):
        return False
    if match.login and (origin.login is None or not _any(match.login, origin.login)):
        return False
    return not match.client or networks.contain(match.client, origin.client)


def _header_matches(name: str, wanted: str | tuple[str, ...], headers: Sequence[Header]) -> bool:
    patterns = (wanted,) if isinstance(wanted, str) else wanted
    return any(_any(patterns, value) for field, value in headers if field.lower() == name.lower())


def _any(patterns: Iterable[str], text: str) -> bool:
    folded = text.lower()
    return any(fnmatchcase(folded, pattern.lower()) for pattern in patterns)
