"""How fast the LMTP daemon answers 250: reports that are decided about against warnings that are only recorded.

    lmtpd.py [--reports 4000] [--sessions 16]

Both go to the same daemon in turns, in this one run. Exit status 1 if deciding leaves less than 0.6 of the rate.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from lab.process import Child, workspace
from lab.site import DOMAIN, RETOUR, retour
from retour_policy.clock import system_clock
from retour_policy.config.load import load
from retour_policy.messages.signer import Signer
from retour_policy.store.database import open_store
from retour_policy.store.sends import NewSend, record
from retour_policy.tokens.keyring import KeyRingFile

ROUNDS = 3
LEAST = 0.6
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
Action: {action}\r
Status: {status}\r
Diagnostic-Code: smtp; 450 {status} try later\r
--b--\r
.\r
"""
KINDS = {"decided": ("failed", "5.2.2"), "recorded": ("delayed", "4.4.1")}


def addresses(config: Path, count: int, mark: str) -> list[tuple[str, str]]:
    """VERP addresses, each with a send record, and their recipients."""
    settings = load(config)
    ring = KeyRingFile(settings.tokens.keyring)
    signer, stream = Signer(ring, system_clock), settings.stream[0]
    store, made = open_store(settings.store.url), []
    with store.writing() as connection:
        for number in range(count):
            to = f"{mark}{number}@example.net"
            send = record(connection, ring.address_secret, NewSend(stream.name, "a@example.com", (to,)), signer.draw)
            made.append((signer.envelope_sender(stream, send), to))
    store.close()
    return made


async def session(path: Path, todo: list[tuple[str, str]], kind: str) -> None:
    """Deliver from one connection until nothing is left."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"LHLO bench\r\n")
    action, status = KINDS[kind]
    while todo:
        sender, to = todo.pop()
        text = REPORT.format(to=to, action=action, status=status, filler="x" * 70)
        writer.write(f"MAIL FROM:<>\r\nRCPT TO:<{sender}>\r\nDATA\r\n{text}".encode())
        while not (await reader.readline()).startswith(b"250 2.0.0 recorded"):
            pass
    writer.close()


async def deliver(path: Path, todo: list[tuple[str, str]], kind: str, sessions: int) -> float:
    """Reports a second."""
    count, began = len(todo), time.perf_counter()
    await asyncio.gather(*(session(path, todo, kind) for _ in range(sessions)))
    return count / (time.perf_counter() - began)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=4_000)
    parser.add_argument("--sessions", type=int, default=16)
    args = parser.parse_args()
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with workspace() as folder:
        home = folder / "r"
        retour("init", "--dir", home, "--domain", DOMAIN)
        config = home / "retour.toml"
        with Child([*RETOUR, "lmtpd", "--config", config], folder=folder, name="lmtpd") as child:
            child.wait_ready()
            for number in range(ROUNDS):
                for kind, found in rates.items():
                    todo = addresses(config, args.reports // ROUNDS, f"{kind}{number}-")
                    found.append(asyncio.run(deliver(home / "sockets/lmtp.sock", todo, kind, args.sessions)))
    for kind, found in rates.items():
        print(f"{statistics.median(found):8,.0f} a second {kind}, {args.sessions} sessions")
    ratio = statistics.median(one / two for one, two in zip(rates["decided"], rates["recorded"], strict=True))
    print(f"decided / recorded only  {ratio:.2f}   at least {LEAST}")
    return int(ratio < LEAST)


if __name__ == "__main__":
    sys.exit(main())
