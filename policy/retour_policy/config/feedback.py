"""Feedback: the parts of the configuration by which people unsubscribe and complain; the web service."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, StrictBool, StrictStr

from retour_policy.config.base import Section
from retour_policy.config.values import Networks, OptionalFile, Socket, check_header_text
from retour_policy.tokens.token import LONG_LENGTH
from retour_policy.tokens.verp import Pattern

MAX_LINK_CHARACTERS = 120
"""Of a link by which somebody unsubscribes: longer ones are folded, and mail programs fail to join them."""
LINK_PATH = "/u/"
"""What stands between the web service's address and a token."""
MAX_NAME_CHARACTERS = 100
Existing = Literal["keep", "replace", "wrap"]


def base_url(value: object) -> str:
    """A web address to which a path can be added, without a slash at its end."""
    example = 'for example "https://u.example.com"'
    text = value if isinstance(value, str) and value.isascii() else ""
    try:
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("is not a web address")
    except ValueError:
        raise ValueError(f"is not a web address; {example}") from None
    if parts.username is not None or parts.query or parts.fragment or set(text) & set(' <>"\\^`{|}'):
        raise ValueError(f"has more than a host, a port and a path; {example}")
    return text.rstrip("/")


def _https(value: object) -> object:
    url = base_url(value)
    length = len(link(url, "x" * LONG_LENGTH))
    if length > MAX_LINK_CHARACTERS:
        over = length - MAX_LINK_CHARACTERS
        raise ValueError(
            f"makes links of {length} characters; the maximum is {MAX_LINK_CHARACTERS}: shorten it by {over}"
        )
    return url


def link(https: str, token: str) -> str:
    """The link by which somebody unsubscribes."""
    return f"{https}{LINK_PATH}{token}"


def _mailto(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        Pattern.parse(value, LONG_LENGTH)
        return value
    raise ValueError('is neither true nor an address with %; for example "u-%@bounces.example.com"')


def _one_line(value: object) -> object:
    if isinstance(value, str) and len(value.strip()) > 0 and len(value) <= MAX_NAME_CHARACTERS and value.isprintable():
        return value.strip()
    raise ValueError(f"is not a name; use up to {MAX_NAME_CHARACTERS} characters on one line")


def check_list_id(value: object) -> object:
    """A List-Id: an optional name, and an identifier in angle brackets (RFC 2919 section 3)."""
    example = 'for example "Example news <news.example.com>"'
    if not isinstance(value, str) or not value.isprintable() or len(value) > 255:
        raise ValueError(f"is not a list's identifier; {example}")
    name, opening, rest = value.rpartition("<")
    if not opening or not rest.endswith(">") or set(name) & set('<>"\\()'):
        raise ValueError(f"has no identifier in angle brackets at its end; {example}")
    labels = rest[:-1].split(".")
    if len(labels) < 2 or not rest.isascii() or not all(label and set(label).isdisjoint(' <>"@,') for label in labels):
        raise ValueError(f"has no identifier such as news.example.com in its angle brackets; {example}")
    return value.strip()


def check_feedback_id(value: object) -> object:
    """A Feedback-ID as Gmail reads it: up to four parts, the last one the sender's, of 5 to 15 characters."""
    example = 'for example "{tag}:{stream}:mail:example"'
    if not isinstance(value, str) or not value.isascii():
        raise ValueError(f"is not a Feedback-ID; {example}")
    check_header_text("Feedback-ID", value)
    parts = value.split(":")
    if len(parts) > 4 or " " in value:
        raise ValueError(f"has more than four parts, or a space; {example}")
    if not 5 <= len(parts[-1]) <= 15 or "{" in parts[-1]:
        raise ValueError(f"does not end in a sender's name of 5 to 15 characters that never changes; {example}")
    return value


class UnsubscribeSection(Section):
    """By what the recipients of a stream unsubscribe: a link, a mail, one click."""

    https: Annotated[str | None, BeforeValidator(_https)] = None
    mailto: Annotated[bool | str, BeforeValidator(_mailto)] = False
    post: StrictBool = False

    @cached_property
    def own_pattern(self) -> Pattern | None:
        """The pattern of the mail addresses that it names; None if it names none."""
        return Pattern.parse(self.mailto, LONG_LENGTH) if isinstance(self.mailto, str) else None


ListId = Annotated[str | None, BeforeValidator(check_list_id)]
FeedbackId = Annotated[str | None, BeforeValidator(check_feedback_id)]


def list_name(list_id: str | None, stream: str) -> str:
    """What people call a list: the name in its List-Id, else its identifier, else the stream."""
    if list_id is None:
        return stream
    name, _, identifier = list_id.rpartition("<")
    return name.strip() or identifier.rstrip(">")


class WebSection(Section):
    """The web service: where it listens, how it is reached, and whose name and logo its pages show."""

    listen: tuple[Socket, ...] = Field(default=("unix:/run/retour-web/web.sock",), min_length=1)
    group: StrictStr = "www-data"
    public_url: Annotated[str, BeforeValidator(base_url)]
    allow_http: StrictBool = False
    trusted_proxies: Networks = ()
    operator: Annotated[str, BeforeValidator(_one_line)]
    logo: OptionalFile = None
