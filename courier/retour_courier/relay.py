"""Relay: hands a message to the mail server that the configuration names."""

from __future__ import annotations

import smtplib

from retour_policy.clean import clean
from retour_policy.config import RelaySection
from retour_policy.errors import RetourError

TIMEOUT = 60  # seconds for one step


class NotSent(RetourError):
    """The relay did not take the message."""

    def __init__(self, words: str, *, temporary: bool) -> None:
        super().__init__(words)
        self.temporary = temporary


def send(relay: RelaySection, recipient: str, message: bytes) -> None:
    """Send `message` from the null sender, so that nobody answers it. Raises `NotSent`."""
    options = [] if message.isascii() else ["BODY=8BITMIME"]
    try:
        with smtplib.SMTP(relay.host, relay.port, timeout=TIMEOUT) as client:
            client.ehlo_or_helo_if_needed()
            client.sendmail("", [recipient], message, options if client.has_extn("8bitmime") else [])
    except smtplib.SMTPRecipientsRefused as error:
        code, words = next(iter(error.recipients.values()))
        raise _answered(code, words) from error
    except smtplib.SMTPResponseException as error:
        raise _answered(error.smtp_code, error.smtp_error) from error
    except (smtplib.SMTPException, OSError) as error:
        raise NotSent(str(error), temporary=True) from error


def _answered(code: int, words: bytes | str) -> NotSent:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return NotSent(clean(f"{code} {text}"), temporary=not 500 <= code < 600)
