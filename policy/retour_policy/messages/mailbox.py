"""Mailbox: old bounces in an mbox, a Maildir or a folder of .eml files, read and dated. No store."""

from __future__ import annotations

import mailbox
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from email.parser import BytesHeaderParser
from email.utils import getaddresses, parsedate_to_datetime
from pathlib import Path

from retour_policy.errors import InputError
from retour_policy.messages.router import Route, Router, UnknownAddress
from retour_policy.tokens.token import TokenError

MAX_MESSAGE_OCTETS = 1_064_000  # kept of a message, as the LMTP daemon keeps them
_DELIVERED_TO = ("X-Original-To", "Delivered-To", "Envelope-To", "To", "Cc")
_LAST_DATE = re.compile(r";\s*([^;]+)$")


@dataclass(frozen=True, slots=True)
class OldMessage:
    """One message, and where it was found."""

    place: str
    raw: bytes
    at: int | None
    """When it was received (the first Received field, else Date), in milliseconds; None if it has neither."""
    delivered_to: tuple[str, ...]
    """Addresses that it may have been delivered to, the most likely first."""
    fault: str = ""
    """Why it could not be read."""


class Mailbox:
    """An mbox, a Maildir, a folder or one .eml file: its messages, one after the other.

    An mbox or one file is opened here, and stays open when this process becomes another user. Files in a folder are
    opened when their turn comes. Raises `InputError` if `path` is no mailbox.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._box: mailbox.mbox | None = None
        self._found: list[Path] = []
        self._one: list[OldMessage] = []
        if not path.exists():
            raise InputError(f"{path}: does not exist")
        if path.is_dir():
            self._found = _files(path)
        elif path.suffix.lower() == ".eml":
            self._one = [_read_file(path)]
        else:
            self._box = _mbox(path)

    def __len__(self) -> int:
        return len(self._found) + len(self._one) + (0 if self._box is None else len(self._box))

    def __iter__(self) -> Iterator[OldMessage]:
        yield from self._one
        yield from map(_read_file, self._found)
        if self._box is not None:
            for number, key in enumerate(self._box.iterkeys(), 1):
                yield parse(f"{self._path}:{number}", self._box.get_bytes(key))


def _mbox(path: Path) -> mailbox.mbox:
    try:
        with path.open("rb") as file:
            begin = file.read(5)
        if begin in (b"", b"From "):
            return mailbox.mbox(path, create=False)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    raise InputError(f"{path}: is not a mailbox; give an mbox, a Maildir, a folder of .eml files, or one .eml file")


def _read_file(path: Path) -> OldMessage:
    try:
        with path.open("rb") as file:
            return parse(str(path), file.read(MAX_MESSAGE_OCTETS))
    except OSError as error:
        return OldMessage(str(path), b"", None, (), error.strerror or "cannot be read")


def _files(folder: Path) -> list[Path]:
    """A Maildir's cur and new, or the .eml files of a folder and those below it, in order."""
    if (folder / "cur").is_dir() and (folder / "new").is_dir():
        found = [*(folder / "cur").iterdir(), *(folder / "new").iterdir()]
    else:
        found = [file for file in folder.rglob("*") if file.suffix.lower() == ".eml"]
    return sorted(file for file in found if file.is_file())


def parse(place: str, raw: bytes) -> OldMessage:
    """The message in `raw`, which was found at `place`."""
    header = BytesHeaderParser().parsebytes(raw[:MAX_MESSAGE_OCTETS].split(b"\n\n", 1)[0].split(b"\r\n\r\n", 1)[0])
    texts = [str(value) for name in _DELIVERED_TO for value in header.get_all(name, [])]
    delivered_to = tuple(dict.fromkeys(address for _, address in getaddresses(texts) if "@" in address))
    received = _LAST_DATE.search(str(header.get("Received", "")))
    dates = [received[1] if received else None, header.get("Date")]
    return OldMessage(
        place, raw[:MAX_MESSAGE_OCTETS], next((at for at in map(_time, dates) if at is not None), None), delivered_to
    )


def route(message: OldMessage, router: Router) -> tuple[str, Route]:
    """The bounce address that a message was delivered to, as far as its header says, and its route."""
    for address in message.delivered_to:
        try:
            return address, router.route(address)
        except (UnknownAddress, TokenError):
            continue
    return (message.delivered_to[0] if message.delivered_to else ""), Route("static")


def _time(text: object) -> int | None:
    try:
        at = parsedate_to_datetime(str(text)) if text else None
    except (ValueError, TypeError, OverflowError):
        return None
    if at is None:
        return None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
