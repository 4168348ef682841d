"""Message: what is known about the message in progress."""

from __future__ import annotations

from dataclasses import dataclass, field

from retour_milter.backend import EarlierSend, Settings
from retour_milter.match import Found, Origin, find_stream
from retour_milter.recipients import Recipient
from retour_policy.config.model import Stream


@dataclass
class Message:
    """It begins at MAIL, and grows with each step."""

    settings: Settings
    origin: Origin
    by_sendmail: bool
    found: Found
    token_stream: Stream | None = None
    """The stream of the VERP address that is its sender: its own, if none matches."""
    earlier: EarlierSend | None = None
    """The send that it is, by that address."""
    recipients: list[Recipient] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    header_size: int = 0
    body: list[bytes] | None = field(default_factory=list)
    """The body so far; None if no copy is kept."""
    body_size: int = 0
    queue_id: str | None = None
    """The mail server's, known at the end of the message."""

    @property
    def final_stream(self) -> Stream | None:
        """The stream, once the header is known."""
        if self.earlier:
            return self.found.stream
        return find_stream(self.settings.config.stream, self.origin, self.headers).stream or self.token_stream
