"""Free TCP ports on loopback, and whether somebody answers at an address."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from lab.wait import PATIENCE, wait_until

Address = Path | tuple[str, int]
"""A unix socket's path, or a host and a TCP port."""

# Below Linux's usual range for outgoing connections (from 32768 on), so that no client takes the port
# between this check and the server's bind.
LOWEST, HIGHEST = 20000, 32000

_chooser = random.SystemRandom()


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port on `host` where nobody listens, drawn at random so that parallel runs do not collide."""
    for _ in range(100):
        port = _chooser.randrange(LOWEST, HIGHEST)
        with socket.socket() as attempt:
            try:
                attempt.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port between {LOWEST} and {HIGHEST} on {host}")


def answers(address: Address) -> bool:
    """Whether a connection to `address` is accepted."""
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(PATIENCE)
        return client.connect_ex(str(address) if isinstance(address, Path) else address) == 0


def wait_answers(address: Address) -> None:
    """Wait until a connection to `address` is accepted. Raises `TimeoutError`."""
    wait_until(lambda: answers(address), what=f"an answer at {address}")
