"""Web: `retour web` with a configuration, a key ring and a store of its own, without a mail server."""

from __future__ import annotations

import http.client
import json
import re
import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lab.ports import free_port
from lab.process import Child
from lab.site import DOMAIN, RETOUR, retour
from lab.wait import PATIENCE
from retour_policy.clock import Clock, system_clock
from retour_policy.config.load import load
from retour_policy.messages.signer import Signer
from retour_policy.store import addresses, subscriptions
from retour_policy.store.database import open_store
from retour_policy.tokens import subscription
from retour_policy.tokens.keyring import KeyRingFile

ANNA = "anna@example.net"
ONE_CLICK = b"List-Unsubscribe=One-Click"
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
list_id = "Example news <news.example.com>"
unsubscribe = { https = "http://localhost", mailto = true, post = true }

[[stream]]
name = "offers"
match = { sender = ["offers@example.com"] }
envelope_from = "b-%@bounces.example.com"
unsubscribe = { https = "http://localhost", post = true }
"""
WEB = """
[web]
listen = ["unix:{socket}", "inet:{port}@127.0.0.1"]
group = "root"
public_url = "http://localhost:{port}"
allow_http = true
operator = "Example Ltd"
"""


@dataclass(frozen=True)
class Answer:
    """What an HTTP request came to."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    text: str


class WebService:
    """As a context manager. `more` is added to [web], `streams` takes the place of the usual ones."""

    def __init__(self, folder: Path, more: str = "", streams: str = STREAMS, clock: Clock = system_clock) -> None:
        self.folder = folder
        self.home = folder / "r"
        self.config = self.home / "retour.toml"
        self.socket = self.home / "sockets/web.sock"
        self.port = free_port()
        self.clock = clock
        made = retour("init", "--dir", self.home, "--domain", DOMAIN, "--postmaster", "pm@example.com")
        assert made.returncode == 0, made.stderr
        text = self.config.read_text().partition("[[stream]]\n")[0]
        self.config.write_text(text + WEB.format(socket=self.socket, port=self.port) + more + streams)
        self.child = Child([*RETOUR, "web", "--config", self.config], folder=folder, name="web")

    def __enter__(self) -> WebService:
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

    def tokens(self, recipients: Iterable[str], stream: str = "news") -> list[str]:
        """The tokens of messages that go out now, one to each recipient."""
        config = load(self.config)
        ring, store = KeyRingFile(config.tokens.keyring), open_store(config.store.url)
        signer, now, named = Signer(ring, self.clock), self.clock(), list(recipients)
        try:
            with store.writing() as connection:
                ids = addresses.ensure(connection, ring.address_secret, named)
                wanted = [(ids[one], stream) for one in named]
                rows = subscriptions.ensure(connection, wanted, now, subscription.draw_number)
        finally:
            store.close()
        return [signer.subscription(rows[one]) for one in wanted]

    def token(self, recipient: str = ANNA, stream: str = "news") -> str:
        """The token of a message that goes out now."""
        return self.tokens([recipient], stream)[0]

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Make a request over TCP."""
        return _ask(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE), method, path, body, headers)

    def ask_locally(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The same over the Unix socket."""
        return _ask(_UnixConnection(self.socket), method, path, body, headers)

    def click(self, token: str) -> Answer:
        """One click, as a mail program does it."""
        return self.ask("POST", f"/u/{token}", ONE_CLICK, URLENCODED)

    def press(self, token: str, action: str, headers: Mapping[str, str] = HTML) -> Answer:
        """A button of the page, as a browser does it."""
        return self.ask("POST", f"/u/{token}", f"action={action}".encode(), {**URLENCODED, **headers})

    def page(self, token: str, headers: Mapping[str, str] = HTML) -> Answer:
        """The page, as a browser asks for it."""
        return self.ask("GET", f"/u/{token}", headers=headers)

    def events(self) -> list[dict[str, Any]]:
        """What `retour events --json` prints."""
        lines = retour("events", "--json", config=self.config).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def kinds(self) -> list[str]:
        """The kinds of these, the oldest first; versions of the policy left out."""
        return [event["kind"] for event in self.events() if event["kind"] != "policy"]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(self._path))


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str] | None,
) -> Answer:
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        text = response.read().decode("utf-8")
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, text)
    finally:
        connection.close()


def words(answer: Answer) -> str:
    """The text of a page without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]*>", " ", answer.text, flags=re.DOTALL)).strip()
