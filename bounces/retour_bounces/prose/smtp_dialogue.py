"""SMTP dialogue: the refusals that a report quotes from an SMTP session, each with the recipient that it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from retour_bounces.message import addresses


class Refusal(NamedTuple):
    """A reply by which a server refused."""

    command: str
    """The SMTP command that was answered, as rules name it."""
    reply: str
    recipient: str = ""
    """The address of the RCPT that was answered, in lower case; "" where it was another command."""

    @property
    def named(self) -> set[str]:
        """The addresses that it is about, in lower case; none where it tells of none."""
        return {one for one in (self.recipient, *addresses.written(self.reply.lower())) if one}


@dataclass(slots=True)
class PendingRecipients:
    """The recipients that a client named (RCPT) since the server last answered."""

    _names: list[str] = field(default_factory=list)
    _replied: bool = False

    def command(self, name: str | None) -> None:
        """Takes a command of the client: the recipient that it names, None for any other than RCPT."""
        if self._replied or name is None:
            self._names = []
        if name is not None:
            self._names.append(name.lower())
        self._replied = False

    def reply(self) -> str:
        """Takes a reply of the server: whom it is about, "" where the client named several at once."""
        self._replied = True
        return self._names[0] if len(self._names) == 1 else ""
