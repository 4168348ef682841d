"""Relay: sends messages to a configured mail server, over reused connections, in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiosmtplib

from retour_courier.errors import DeliveryError
from retour_policy.config.courier import RelaySection
from retour_policy.sanitize import clean

CONFIGURATION_CODES = {530, 534, 535, 538}
"""No login or no encryption (RFC 4954, RFC 3207): the message is kept until the configuration is fixed."""
Sleep = Callable[[float], Awaitable[None]]


class Relay:
    """One mail server. Forwards and resends share its connections."""

    def __init__(self, section: RelaySection, password: str | None = None, sleep: Sleep = asyncio.sleep) -> None:
        self._section = section
        self._password = password
        self._sleep = sleep
        self._idle: list[aiosmtplib.SMTP] = []
        self._slots = asyncio.Semaphore(section.connections)
        self._turn = asyncio.Lock()
        self._sent = 0
        self.connections = section.connections

    async def send(self, sender: str, recipient: str, message: bytes) -> None:
        """Send one message; a sender of "" is the null sender. Raises `DeliveryError`."""
        async with self._slots:
            await self._wait_for_turn()
            client = await self._connected()
            try:
                await _transact(client, sender, recipient, message)
            except BaseException:
                client.close()
                raise
            self._idle.append(client)

    async def close(self) -> None:
        """Close the connections with QUIT."""
        for client in self._idle:
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await client.quit(timeout=2)
        self._idle.clear()

    async def _wait_for_turn(self) -> None:
        """Between batches all senders wait."""
        batch = self._section.batch
        if batch is None:
            return
        async with self._turn:
            if self._sent and self._sent % batch.size == 0:
                await self._sleep(batch.pause / 1000)
            self._sent += 1

    async def _connected(self) -> aiosmtplib.SMTP:
        """An idle connection, if the server has not closed it, or a new one."""
        while self._idle:
            client = self._idle.pop()
            try:
                await client.rset()
                return client
            except (aiosmtplib.SMTPException, OSError):
                client.close()
        section = self._section
        client = aiosmtplib.SMTP(
            hostname=section.host,
            port=section.port,
            username=section.user,
            password=self._password,
            use_tls=section.tls == "tls",
            start_tls=section.tls == "starttls",
            timeout=section.timeout / 1000,
        )
        try:
            await client.connect()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            client.close()
            raise DeliveryError(f"{section.host}:{section.port}: {_words(error)}") from error
        return client


async def _transact(client: aiosmtplib.SMTP, sender: str, recipient: str, message: bytes) -> None:
    """Say MAIL, RCPT and DATA.

    A 5xx is about this message unless it is one of `CONFIGURATION_CODES`; anything else may be otherwise another day.
    """
    if clean(sender + recipient) != sender + recipient:
        raise DeliveryError(
            f"not an address that SMTP can carry: {clean(sender)!r} to {clean(recipient)!r}", temporary=False
        )
    options = ["SMTPUTF8"] if not (sender + recipient).isascii() else []
    if not message.isascii() and client.supports_extension("8bitmime"):
        options.append("BODY=8BITMIME")
    encoding = "utf-8" if "SMTPUTF8" in options else "ascii"
    try:
        await client.mail(sender, options=options, encoding=encoding)
        await client.rcpt(recipient, encoding=encoding)
        await client.data(message)
    except aiosmtplib.SMTPNotSupported as error:
        raise DeliveryError(str(error), temporary=False) from error
    except aiosmtplib.SMTPResponseException as error:
        permanent = 500 <= error.code < 600 and error.code not in CONFIGURATION_CODES
        raise DeliveryError(f"{error.code} {_words(error)}", temporary=not permanent) from error
    except (aiosmtplib.SMTPException, OSError) as error:
        raise DeliveryError(_words(error)) from error


def _words(error: Exception) -> str:
    text = error.message if isinstance(error, aiosmtplib.SMTPException) else str(error)
    return clean(str(text or type(error).__name__))
