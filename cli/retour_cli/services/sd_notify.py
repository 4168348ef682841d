"""Sd_notify: reports the state of a service to the service manager (the protocol of sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket
import time


def notify(*states: str) -> None:
    """Send `states`, such as READY=1, as one message to the service manager; does nothing without one.

    Never waits: a manager that does not read must not stop the service that it manages.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messenger:
        messenger.setblocking(False)
        messenger.sendto("\n".join(states).encode("utf-8", "backslashreplace"), address)


def reloading() -> tuple[str, str]:
    """What a service sends before it reads its configuration again; READY=1 ends that."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"


def watchdog_s() -> float | None:
    """Within how many seconds the manager expects WATCHDOG=1 from this process; None: not at all."""
    expected = os.environ.get("WATCHDOG_USEC", "")
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()) or not expected.isdecimal():
        return None  # in a child it is of the parent that the manager expects it
    return int(expected) / 1_000_000 or None
