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


def count(path: Path) -> int:
    """How many messages there are, for a progress bar. Raises `InputError` if `path` is not a mailbox."""
    if _holds_files(path):
        return sum(1 for _ in _files(path))
    return len(_mbox(path))


def messages(path: Path) -> Iterator[OldMessage]:
    """All messages of an mbox, a Maildir or a folder, one after the other. Raises `InputError`."""
    if _holds_files(path):
        yield from map(_read_file, _files(path))
        return
    box = _mbox(path)
    for number, key in enumerate(box.iterkeys(), 1):
        yield parse(f"{path}:{number}", box.get_bytes(key))


def _holds_files(path: Path) -> bool:
    """Whether each message is a file of its own; else it is an mbox."""
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    return path.is_dir() or path.suffix.lower() == ".eml"


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


def _files(folder: Path) -> Iterator[Path]:
    """A Maildir's cur and new, or the .eml files of a folder and those below it, in order."""
    if not folder.is_dir():
        found = [folder]
    elif (folder / "cur").is_dir() and (folder / "new").is_dir():
        found = [*(folder / "cur").iterdir(), *(folder / "new").iterdir()]
    else:
        found = [file for file in folder.rglob("*") if file.suffix.lower() == ".eml"]
    yield from sorted(file for file in found if file.is_file())


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
