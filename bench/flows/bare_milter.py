"""A bare pymilter for comparison: it sets the sender and adds four header fields, as a stamp does, and records nothing.

bare_milter.py SOCKET
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import Milter

ACTIONS = Milter.CHGFROM | Milter.ADDHDRS
FIELDS = ("Retour-Ref", "List-Unsubscribe", "Feedback-ID", "Campaign-Ref")
VALUE = "a1b2c3d4e5f6g7h8a1b2c3d4e5f6g7h8"
BACKLOG = 128


class Bare(Milter.Base):  # type: ignore[misc]
    """Has Postfix leave out the steps that nobody needs; answers the end of the message."""

    def negotiate(self, options: list[int]) -> Any:
        """Ask for no header and no body."""
        answer = super().negotiate(options)
        options[1] |= Milter.P_NOBODY | Milter.P_NOHDRS
        return answer

    def envfrom(self, sender: str, *_: str) -> Any:
        """MAIL FROM."""
        return Milter.CONTINUE

    def eom(self) -> Any:
        """The end of the message."""
        self.chgfrom(f"<b-{VALUE}@bounces.example.com>")
        for field in FIELDS:
            self.addheader(field, VALUE)
        return Milter.ACCEPT


def main() -> None:
    """Serve until the process is ended."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(BACKLOG)
    Milter.factory = Bare
    Milter.set_flags(ACTIONS)
    Milter.runmilter("bare", f"fd:{os.dup(listener.fileno())}", 7210, rmsock=False)


main()
