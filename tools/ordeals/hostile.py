"""Hostile: clients that send nonsense, floods and silence to the daemon's sockets, beside one that is honest."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from lab import hostile
from lab.daemon import NO_STORMS, Daemon
from ordeals.books import Book, Verdict, check_file, read_recorded
from ordeals.client import Client

HOSTILE_CLIENTS = 4
MAX_MEMORY_MB = 600
PATIENCE_S = 10.0
"""How long a hostile client waits for an answer that may never come."""


def nonsense(connection: socket.socket, address: str, chance: Random) -> None:
    """Octets of any value."""
    connection.sendall(chance.randbytes(chance.choice((1, 100, 70_000))))


def endless_line(connection: socket.socket, address: str, chance: Random) -> None:
    """A line without end."""
    for _ in range(40):
        connection.sendall(b"A" * 100_000)


def many_recipients(connection: socket.socket, address: str, chance: Random) -> None:
    """Twenty thousand recipients in one breath, the answers unread."""
    connection.sendall(b"LHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<nobody@bounces.example.com>\r\n" * 20_000)


def commands_out_of_order(connection: socket.socket, address: str, chance: Random) -> None:
    """All commands in any order."""
    known = b"LHLO x|MAIL FROM:<>|RSET|NOOP|VRFY a|QUIT|HELO x|EHLO x|STARTTLS|AUTH PLAIN =|BDAT 1 LAST|".split(b"|")
    known.append(b"RCPT TO:<" + address.encode() + b">")
    connection.sendall(b"".join(chance.choice(known) + chance.choice((b"\r\n", b"\n", b"\r")) for _ in range(200)))


def hard_to_read(connection: socket.socket, address: str, chance: Random) -> None:
    """A message that costs a careless reader minutes, under an address that takes no mail."""
    make = chance.choice((hostile.strange, hostile.wordy, hostile.recipients, hostile.encoded))
    text = hostile.of_octets(make, 300_000).replace(b"\n", b"\r\n")
    connection.sendall(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster@bounces.example.com>\r\nDATA\r\n")
    connection.sendall(text + b"\r\n.\r\n")


def silence(connection: socket.socket, address: str, chance: Random) -> None:
    """Half a message, and then nothing."""
    connection.sendall(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<" + address.encode() + b">\r\nDATA\r\nSubject: half")


WAYS: tuple[Callable[[socket.socket, str, Random], None], ...] = (
    nonsense,
    endless_line,
    many_recipients,
    commands_out_of_order,
    hard_to_read,
    silence,
)


def run(folder: Path, seconds: float, chance: Random) -> Verdict:
    """For `seconds`, hostile clients in turn at both sockets; each honest report is answered 250 and recorded once."""
    tried: Counter[str] = Counter()
    with Daemon(folder, [NO_STORMS]) as daemon:
        attackers = [
            threading.Thread(
                target=_attack,
                args=(daemon, address, tried, time.monotonic() + seconds, Random(chance.random())),
                daemon=True,
            )
            for address, _ in daemon.addresses(HOSTILE_CLIENTS, "victim-")
        ]
        for attacker in attackers:
            attacker.start()
        book, refused = Book(), 0
        client = Client(daemon.socket)
        todo = iter(daemon.addresses(20_000, "honest-"))
        while any(attacker.is_alive() for attacker in attackers):
            address, to = next(todo)
            code = client.deliver(address, to)
            book.hear(code, to)
            refused += code != 250
            time.sleep(0.02)
        client.close()
        faults = book.balance(read_recorded(daemon.database, "honest-")) + check_file(daemon.database)
        memory = _peak_memory_mb(daemon.child.pid)
    if refused:
        faults.append(f"{refused} honest reports were not taken at the first try")
    if memory > MAX_MEMORY_MB:
        faults.append(f"the daemon grew to {memory} MB")
    return Verdict(
        dict(sorted(tried.items())) | {"honest reports": len(book.acknowledged), "MB": memory}, tuple(faults)
    )


def _attack(daemon: Daemon, address: str, tried: Counter[str], until: float, chance: Random) -> None:
    while time.monotonic() < until:
        way = chance.choice(WAYS)
        at = daemon.lookup if way is nonsense and chance.random() < 0.5 else daemon.socket
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(at))
            way(connection, address, chance)
            if way is not silence:
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass
        tried[way.__name__.replace("_", " ")] += 1


def _peak_memory_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024
