"""Daemon: `retour lmtpd` with a configuration, a key ring and a store of its own, without a mail server."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import stores
from lab.ports import free_port
from lab.process import Child
from lab.site import DOMAIN, RETOUR, retour
from lab.wait import PATIENCE
from retour_policy.clock import system_clock
from retour_policy.config.load import load
from retour_policy.messages.signer import Signer
from retour_policy.store.database import open_store
from retour_policy.store.sends import NewSend, record
from retour_policy.tokens.keyring import KeyRingFile

STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"

[[stream]]
name = "static"
match = { sender = ["static@example.com"] }
envelope_from = "Returns@bounces.example.com"
"""
NO_STORMS = ("least = 20", "least = 0")
"""One of the `settings`: no storm opens, so every failure counts at once."""


class Daemon:
    """As a context manager.

    `settings` replaces texts of the configuration; `env` is its environment, `stderr` a descriptor.
    """

    def __init__(
        self,
        folder: Path,
        settings: Iterable[tuple[str, str]] = (),
        *,
        env: Mapping[str, str] | None = None,
        stderr: int | None = None,
    ) -> None:
        self.folder = folder
        self.home = folder / "r"
        self.config = self.home / "retour.toml"
        self.database = self.home / "retour.db"
        self.socket = self.home / "sockets/lmtp.sock"
        self.lookup = self.home / "sockets/lookup.sock"
        self.port = free_port()
        made = retour("init", "--dir", self.home, "--domain", DOMAIN, "--postmaster", "pm@example.com")
        assert made.returncode == 0, made.stderr
        text = self.config.read_text().partition("[[stream]]\n")[0] + STREAMS
        listen = f'"unix:{self.socket}"'
        text = text.replace(listen, f'{listen}, "inet:{self.port}@127.0.0.1"')
        text = text.replace("allow = []", 'allow = ["127.0.0.1"]')
        for old, new in settings:
            assert old in text, old
            text = text.replace(old, new)
        self.config.write_text(text)
        stores.move(self.config)
        argv: list[str | Path] = [*RETOUR, "lmtpd", "--config", self.config]
        self.child = Child(argv, folder=folder, name="lmtpd", env=env, stderr=stderr)

    def __enter__(self) -> Daemon:
        self.child.__enter__()
        try:
            self.child.wait_ready()
        except BaseException:
            self.child.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.child.__exit__(kind, error, trace)

    def address(self, to: str = "bob@example.net", stream: str = "news") -> str:
        """A VERP address with a send record behind it."""
        made = retour("token", "make", "--stream", stream, "--to", to, config=self.config)
        assert made.returncode == 0, made.stderr
        return made.stdout.splitlines()[0]

    def addresses(self, count: int, mark: str) -> list[tuple[str, str]]:
        """VERP addresses, each with a send record, and their recipients: `mark` with a number @example.net."""
        config = load(self.config)
        ring = KeyRingFile(config.tokens.keyring)
        signer, stream = Signer(ring, system_clock), config.stream[0]
        store = open_store(config.store.url)
        made = []
        try:
            with store.writing() as connection:
                for number in range(count):
                    to = f"{mark}{number}@example.net"
                    new = NewSend(stream.name, "news@example.com", (to,))
                    send = record(connection, ring.address_secret, new, signer.draw)
                    made.append((signer.envelope_sender(stream, send), to))
        finally:
            store.close()
        return made

    def events(self) -> list[dict[str, Any]]:
        """What `retour events --json` prints."""
        lines = retour("events", "--json", config=self.config).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def connect(self, host: str | None = None, source: tuple[str, int] | None = None) -> socket.socket:
        """A connection to its unix socket, or over TCP to `host`."""
        if host:
            return socket.create_connection((host, self.port), timeout=PATIENCE, source_address=source)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(str(self.socket))
        return connection
