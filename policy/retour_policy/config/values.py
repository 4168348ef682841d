"""Values: the kinds of values in a configuration; the error for a wrong one says how to fix it."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr

from retour_policy.address import domain_ascii, is_address, is_domain
from retour_policy.clock import DAY, HOUR, MINUTE, SECOND
from retour_policy.core.decide import MAX_FAILURES_KEPT
from retour_policy.networks import Network
from retour_policy.tokens.verp import Pattern

PLACEHOLDERS = ("stream", "tag", "token", "recipient", "recipient_domain", "date")
REFERENCE = "Retour-Ref"
"""The header field that refers to the send of a message, by a token."""
TAG = "Retour-Tag"
"""The header field by which an application gives a message its own reference."""
OWN_HEADERS = (REFERENCE, TAG)
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_SIZES = {"k": 1024, "M": 1024 * 1024}
MAX_WORKERS = 64
MAX_DURATION_MS = 36_500 * DAY  # a date that far away can still be written
_HEADER_NAME = re.compile(r"[!-9;-~]{1,200}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STREAM_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def _duration(value: object) -> object:
    if isinstance(value, str):
        found = re.fullmatch(r"(\d{1,9})([smhd])", value)
        if found:
            length = int(found[1]) * _UNITS[found[2]]
            if length > MAX_DURATION_MS:
                raise ValueError(f"is longer than a hundred years; the maximum is {MAX_DURATION_MS // DAY}d")
            return length
    raise ValueError('is not a time; use a number and a unit, such as "30s", "4h" or "180d"')


def _size(value: object) -> object:
    if isinstance(value, str):
        found = re.fullmatch(r"(\d{1,6})([kM])", value)
        if found:
            return int(found[1]) * _SIZES[found[2]]
    raise ValueError('is not a size; use a number and a unit, such as "256k" or "2M"')


def _name(value: object) -> object:
    if isinstance(value, str) and _STREAM_NAME.fullmatch(value):
        return value
    raise ValueError("is not a name; use up to 64 of a-z 0-9 . _ - and begin with a letter or digit")


def check_workers(value: object) -> int | Literal["auto"]:
    """A number of processes, or "auto". Raises `ValueError` that says what is right."""
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_WORKERS:
        return value
    raise ValueError(f'is not a number of processes; use 1 to {MAX_WORKERS}, or "auto" for as many as there are cores')


def _positive(value: int) -> int:
    if not value:
        raise ValueError('must not be zero; for example "30s"')
    return value


def _network(value: object) -> object:
    try:
        if isinstance(value, str):
            return ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f'is not a network ({error}); for example "192.0.2.0/24"') from None
    raise ValueError('is not a network; for example "192.0.2.0/24"')


def _or_none(value: object) -> object:
    return None if value == "" else value


def check_absolute(value: Path) -> Path:
    if not value.is_absolute() or _CONTROL.search(str(value)):
        raise ValueError('is not an absolute path; for example "/etc/retour/keys.toml"')
    return value


def check_mode(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"0[0-7]{3}", value):
        return value
    raise ValueError('is not a mode; use four octal digits in quotes, such as "0660"')


def _address(value: object) -> object:
    if isinstance(value, str) and (is_address(value) or value == "postmaster"):  # RFC 5321 section 4.5.1
        return value
    raise ValueError('is not an e-mail address; for example "postmaster@example.com"')


def _copy(value: object) -> object:
    if isinstance(value, str) and (is_address(value) or is_domain(domain_ascii(value))):
        return value
    raise ValueError('is neither an address nor a domain; for example "archive@example.com" or "archive.example.com"')


def _socket(value: object) -> object:
    if isinstance(value, str) and not _CONTROL.search(value):
        found = re.fullmatch(r"unix:/.+|inet:(\d{1,5})@[^\s@]+|fd:[\w.-]+", value)
        if found and (found[1] is None or 0 < int(found[1]) < 65_536):
            return value
    raise ValueError('is not a socket; use "unix:/path", "inet:PORT@ADDRESS" or "fd:NAME" (from systemd)')


def _unix_socket(value: object) -> object:
    if value == "" or str(_socket(value)).startswith("unix:"):
        return value
    raise ValueError('must be a unix socket, "unix:/path": who may use it is told by its permissions alone')


def check_texts(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def check_stream_name(value: object) -> object:
    if isinstance(value, str) and _STREAM_NAME.fullmatch(value):
        return value
    raise ValueError("is not a stream name; use up to 64 of a-z 0-9 . _ - and begin with a letter or digit")


def check_envelope_from(value: object) -> object:
    if value == "header-from" or value is None:
        return value
    if isinstance(value, str) and "%" in value:
        Pattern.parse(value)
        return value
    if isinstance(value, str) and is_address(value):
        return value
    raise ValueError('is not an envelope sender; use "b-%@bounces.example.com", "bounces@example.com" or "header-from"')


def check_headers(value: object) -> object:
    if value is False:
        return value
    if not isinstance(value, dict):
        raise ValueError('is neither a table of header fields nor false; for example { Feedback-ID = "{stream}" }')
    for name, edit in value.items():
        _check_header(name, edit)
    return value


def _check_header(name: str, edit: object) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header field; for example X-Campaign")
    if name.lower() in map(str.lower, OWN_HEADERS):
        raise ValueError(f"{name} is Retour's own; choose another name")
    special = isinstance(edit, dict) and list(edit) in (["add"], ["default"])
    text = next(iter(edit.values())) if isinstance(edit, dict) and special else edit
    if not isinstance(text, str) and (special or text is not False):
        raise ValueError(
            f'{name}: use "text" (set it), false (remove it), {{ add = "text" }} or {{ default = "text" }}'
        )
    check_header_text(name, text or "")


def check_header_text(name: str, text: str) -> None:
    """Refuse what a header field cannot hold, and placeholders that there are not."""
    if _CONTROL.search(text):
        raise ValueError(f"{name}: contains a control character; header fields are one line")
    unknown = [p for p in re.findall(r"{([^{}]*)}", text) if p not in PLACEHOLDERS]
    if unknown:
        raise ValueError(
            f"{name}: unknown placeholder {{{unknown[0]}}}; the placeholders are {', '.join(PLACEHOLDERS)}"
        )


Size = Annotated[int, BeforeValidator(_size)]
"""Written "256k", kept as octets."""
Name = Annotated[str, BeforeValidator(_name)]
Duration = Annotated[int, BeforeValidator(_duration)]
"""Written "4h", kept as milliseconds."""
Span = Annotated[Duration, AfterValidator(_positive)]
"""A `Duration` that is not zero."""
Address = Annotated[str, BeforeValidator(_address)]
OptionalAddress = Annotated[Address | None, BeforeValidator(_or_none)]
"""An address; "": none."""
OptionalText = Annotated[StrictStr | None, BeforeValidator(_or_none)]
"""A text; "": none."""
Socket = Annotated[str, BeforeValidator(_socket)]
OptionalUnixSocket = Annotated[str, BeforeValidator(_unix_socket)]
"""A unix socket; "": none."""
Copies = tuple[Annotated[str, BeforeValidator(_copy)], ...]
"""Addresses and domains."""
Count = Annotated[StrictInt, Field(ge=0, le=1_000_000)]
Threshold = Annotated[StrictInt, Field(ge=0, le=MAX_FAILURES_KEPT)]
OptionalFile = Annotated[Annotated[Path, AfterValidator(check_absolute)] | None, BeforeValidator(_or_none)]
"""An absolute path; "": none."""
Networks = tuple[Annotated[Network, BeforeValidator(_network)], ...]
Texts = tuple[StrictStr, ...]
NotEmpty = Field(default=(), min_length=1)
"""A list that must not be empty if it is given: an empty one would match all mail instead of none."""
Workers = Annotated[int | Literal["auto"], BeforeValidator(check_workers)]
"""How many processes a service has."""
