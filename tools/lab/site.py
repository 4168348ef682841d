"""Site: Retour wired to a private Postfix and a destination, as one context manager."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from lab import stores
from lab.destination import Destination
from lab.postfix import PrivatePostfix
from lab.process import Child
from lab.swaks import SwaksResult, swaks
from retour_cli.main import main

RETOUR = (sys.executable, "-m", "retour_cli")
DOMAIN = "bounces.example.com"
HERE = "127.0.0.1"
OUTSIDER = "127.0.0.3"


def retour(*words: str | Path, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command `retour`, in this process: starting another one takes longer than most commands.

    Not for services, which take signals. `RETOUR` is what runs it in a process of its own.
    """
    argv = [*map(str, words), *(["--config", str(config)] if config else [])]
    result = CliRunner().invoke(main, argv)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(argv, result.exit_code, result.stdout, result.stderr)


class Site:
    """`folder/retour` is what `retour init` made, with `streams` (TOML) instead of the example's.

    `services` is what runs: "serve" or single ones. `settings` replaces lines of the configuration, also those that
    are comments: key (the first of that name) to TOML value. Mail to `domains` goes to the destination.
    """

    def __init__(
        self,
        folder: Path,
        streams: str,
        *,
        settings: Mapping[str, str] | None = None,
        services: Sequence[str] = ("serve",),
        domains: Sequence[str] = ("example.net", "example.org"),
        **postfix: Any,
    ) -> None:
        self.folder = folder
        self.home = folder / "retour"
        self.config = self.home / "retour.toml"
        self.destination = Destination()
        self.services: dict[str, Child] = {}
        self._streams = streams
        self._settings = {"trusted": f'["{HERE}/32"]'} | dict(settings or {})
        self._wanted = services
        self._domains = domains
        self._stack = ExitStack()
        self._postfix_options = postfix

    def __enter__(self) -> Site:
        with ExitStack() as stack:
            stack.enter_context(self.destination)
            self.postfix = PrivatePostfix(
                self.folder / "postfix",
                destinations=dict.fromkeys(self._domains, self.destination.hop),
                **self._postfix_options,
            )
            self.destination.return_port = self.postfix.smtp_port
            self._init()
            stack.enter_context(self.postfix)
            for name in self._wanted:
                self.start(name, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def start(self, name: str, stack: ExitStack | None = None) -> Child:
        """Run a service and wait until it is ready."""
        child = Child([*RETOUR, name, "--config", self.config], folder=self.folder, name=name)
        (stack or self._stack).enter_context(child)
        child.wait_ready()
        self.services[name] = child
        return child

    def retour(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the command `retour` with this site's configuration."""
        return retour(*words, config=self.config)

    def json(self, *words: str | Path) -> list[dict[str, Any]]:
        """What `retour ... --json` prints."""
        return [json.loads(line) for line in self.retour(*words, "--json").stdout.splitlines()]

    def events(self, *words: str) -> list[dict[str, Any]]:
        """What `retour events --json` prints."""
        return self.json("events", *words)

    def outbox(self) -> list[dict[str, Any]]:
        """What `retour outbox list --json` prints."""
        return self.json("outbox", "list")

    def send(self, sender: str, to: str | Sequence[str], **options: Any) -> SwaksResult:
        """Submit a message to Postfix from a trusted client."""
        return swaks(server=self.postfix.smtp_server, from_=sender, to=to, local_interface=HERE, **options)

    def send_from_outside(self, sender: str, to: str | Sequence[str], **options: Any) -> SwaksResult:
        """Submit a message to Postfix from a client that it does not trust; with a login, at its submission port."""
        server = self.postfix.submission_server if "login" in options else self.postfix.smtp_server
        return swaks(server=server, from_=sender, to=to, local_interface=OUTSIDER, **options)

    def configure(self, old: str, new: str) -> None:
        """Replace text in the configuration file."""
        text = self.config.read_text()
        assert old in text, old
        self.config.write_text(text.replace(old, new))

    def _init(self) -> None:
        made = retour("init", "--dir", self.home, "--domain", DOMAIN, "--postmaster", "postmaster@example.net")
        if made.returncode:
            raise RuntimeError(made.stderr)
        self.home.chmod(0o755)
        self.configure(f"unix:{self.home}/sockets", f"unix:{self.postfix.sockets}")
        head = self.config.read_text().partition("[[stream]]\n")[0]
        settings = {"port": str(self.postfix.smtp_port)} | self._settings
        lines = [_replaced(line, settings) for line in head.splitlines()]
        self.config.write_text("\n".join(lines) + "\n" + self._streams)
        stores.move(self.config)


def _replaced(line: str, settings: dict[str, str]) -> str:
    name = line.removeprefix("# ").partition(" =")[0]
    return f"{name} = {settings.pop(name)}" if name in settings else line
