"""Client: hands one report to the LMTP daemon, as a mail server does, and tells what it heard."""

from __future__ import annotations

import smtplib
from contextlib import suppress
from pathlib import Path

from lab.reports import hard_bounce
from lab.wait import PATIENCE

UNCLEAR = 0
"""No answer came."""


class Client:
    """Keeps its connection, as Postfix does, and makes another when that has ended."""

    def __init__(self, socket: Path, timeout_s: float = PATIENCE) -> None:
        self._socket = str(socket)
        self._timeout_s = timeout_s
        self._connection: smtplib.LMTP | None = None

    def deliver(self, address: str, to: str, *, text: str = "No such user.") -> int:
        """Hand over a report that `to` does not exist; the reply code of the data, or of what was refused before.

        `UNCLEAR` if the data was sent and no answer came; -1 if it was not sent.
        """
        message = hard_bounce(to, header=f"Message-ID: <{to}>\n", text=text).replace("\n", "\r\n").encode()
        sent = False
        try:
            connection = self._connected()
            for code, _ in (connection.mail(""), connection.rcpt(address)):
                if code != 250:
                    connection.rset()
                    return int(code)
            sent = True
            return int(connection.data(message)[0])
        except smtplib.SMTPDataError as error:
            self.close()
            return int(error.smtp_code)
        except (OSError, smtplib.SMTPException):
            self.close()
            return UNCLEAR if sent else -1

    def _connected(self) -> smtplib.LMTP:
        if self._connection is None:
            self._connection = smtplib.LMTP(self._socket, timeout=self._timeout_s)
            self._connection.ehlo_or_helo_if_needed()
        return self._connection

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            with suppress(OSError, smtplib.SMTPException):
                self._connection.close()
        self._connection = None
