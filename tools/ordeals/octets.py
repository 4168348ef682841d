"""Octets: a session is cut at each of its octets, in three ways, and the same report is handed over again."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from random import Random

from lab.daemon import NO_STORMS, Daemon
from lab.reports import hard_bounce
from ordeals.books import Book, Verdict, check_file, read_recorded
from ordeals.client import Client

WAYS = ("closed", "half closed", "reset")
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time


def run(folder: Path, seconds: float, chance: Random) -> Verdict:
    """All cuts, whatever `seconds` says: the session is short."""
    book, cuts, heard = Book(), 0, 0
    with Daemon(folder, [NO_STORMS]) as daemon:
        length = len(_session("b-" + 30 * "a" + "@bounces.example.com", "cut-0000@example.net"))
        plan = [(cut, way) for cut in range(length + 1) for way in WAYS]
        client = Client(daemon.socket)
        for (cut, way), (address, to) in zip(plan, daemon.addresses(len(plan), "cut-"), strict=True):
            session = _session(address, to)
            heard += _cut(daemon, session[:cut] if cut < length else session, way)
            cuts += 1
            book.hear(client.deliver(address, to), to)
        client.close()
        faults = book.balance(read_recorded(daemon.database, "cut-")) + check_file(daemon.database)
        refused = len(plan) - len(book.acknowledged)
    if refused:
        faults.append(f"{refused} reports were not taken after their session had been cut")
    return Verdict({"octets": length, "cuts": cuts, "answered before the cut": heard}, tuple(faults))


def _session(address: str, to: str) -> bytes:
    message = hard_bounce(to, header=f"Message-ID: <{to}>\n").replace("\n", "\r\n")
    return f"LHLO cut\r\nMAIL FROM:<>\r\nRCPT TO:<{address}>\r\nDATA\r\n{message}.\r\n".encode()


def _cut(daemon: Daemon, part: bytes, way: str) -> bool:
    """Send the beginning of a session and cut it; whether the report was heard to be recorded before."""
    with daemon.connect("127.0.0.1") as connection:
        connection.sendall(part)
        if way == "half closed":
            connection.shutdown(socket.SHUT_WR)
            return b"250 2.0.0 recorded" in _rest(connection)
        if way == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    return False


def _rest(connection: socket.socket) -> bytes:
    found = b""
    try:
        while octets := connection.recv(4096):
            found += octets
    except ConnectionError:
        pass
    return found
