"""Reports: delivery status notifications to VERP addresses, and a client that hands them over by LMTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from retour_policy.clock import system_clock
from retour_policy.config.load import load
from retour_policy.messages.signer import Signer
from retour_policy.store.database import open_store
from retour_policy.store.sends import NewSend, record_many
from retour_policy.tokens.keyring import KeyRingFile

MAX_SENDS = 500  # written together
FILLER = "The original message is below, or a part of it.\r\n" * 70
REPORT = """\
From: MAILER-DAEMON@mx.example.net\r
Subject: Undelivered\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary=b\r
\r
--b\r
\r
{filler}\r
--b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.example.net\r
\r
Final-Recipient: rfc822; {to}\r
Action: failed\r
Status: 5.2.2\r
Diagnostic-Code: smtp; 552 5.2.2 mailbox full\r
--b--\r
.\r
"""
Sent = tuple[str, str]
"""A VERP address, and the recipient of its send."""


def make_sends(config: Path, count: int, mark: str, sides: int = 200) -> list[Sent]:
    """VERP addresses, each with a send record, and their recipients, who are at so many sides."""
    settings = load(config)
    ring = KeyRingFile(settings.tokens.keyring)
    signer, stream = Signer(ring, system_clock), settings.stream[0]
    store, made = open_store(settings.store.url), list[Sent]()
    people = [f"{mark}{number}@side{number % sides}.example" for number in range(count)]
    for start in range(0, count, MAX_SENDS):
        some = people[start : start + MAX_SENDS]
        news = [NewSend(stream.name, "news@example.com", (to,)) for to in some]
        with store.writing() as connection:
            numbers = record_many(connection, ring.address_secret, news, signer.draw)
        made += [(signer.envelope_sender(stream, number), to) for number, to in zip(numbers, some, strict=True)]
    store.close()
    return made


def deliver(path: Path, sent: Sequence[Sent], sessions: int) -> None:
    """Hand over a report about each, over so many kept connections."""
    todo = list(sent)
    asyncio.run(_deliver(path, todo, sessions))


async def _deliver(path: Path, todo: list[Sent], sessions: int) -> None:
    await asyncio.gather(*(_session(path, todo) for _ in range(sessions)))


async def _session(path: Path, todo: list[Sent]) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    await reader.readline()
    writer.write(b"LHLO bench\r\n")
    while (await reader.readline())[3:4] == b"-":
        pass
    while todo:
        address, to = todo.pop()
        writer.write(f"MAIL FROM:<>\r\nRCPT TO:<{address}>\r\nDATA\r\n".encode())
        for wanted in (b"250", b"250", b"354"):
            await _expect(reader, wanted)
        writer.write(REPORT.format(to=to, filler=FILLER).encode())
        await _expect(reader, b"250")
    writer.close()


async def _expect(reader: asyncio.StreamReader, code: bytes) -> None:
    line = await reader.readline()
    if not line.startswith(code):
        raise RuntimeError(f"{code!r} wanted, but: {line!r}")
