"""Dialogue: the refusals that a report quotes from an SMTP session, each with the recipient that it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from retour_bounces.message import addresses as address


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
        return {one for one in (self.recipient, *address.written(self.reply.lower())) if one}


@dataclass(slots=True)
class Asked:
    """The recipients that a client asked for since the server last answered."""

    _names: list[str] = field(default_factory=list)
    _answered: bool = False

    def ask(self, name: str | None) -> None:
        """The client names a recipient; None stands for any other command."""
        if self._answered or name is None:
            self._names = []
        if name is not None:
            self._names.append(name.lower())
        self._answered = False

    def answer(self) -> str:
        """Whom the server's next reply is about; "" where the client asked for several at once."""
        self._answered = True
        return self._names[0] if len(self._names) == 1 else ""
