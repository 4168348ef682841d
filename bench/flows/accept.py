"""Accept: how fast a real Postfix accepts mail, without a milter, with a bare pymilter, and with `retour milter`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.ratios import Ratio
from flows.turns import Way, measure, ratio, session, typical
from lab.installation import find_installation
from lab.ports import free_port
from lab.postfix import PrivatePostfix
from lab.process import Child, workspace
from lab.site import DOMAIN, RETOUR, retour

OCTETS = 5_000  # of each message's body
NONE, BARE, RETOUR_MILTER = "none", "bare", "retour"
STREAM = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
headers = { Feedback-ID = "{stream}:mail:example", List-Unsubscribe = "<mailto:{token}@example.com>", List-Id = "x" }
"""


@dataclass(frozen=True)
class Site:
    """A Postfix with one port for each way, and the milters."""

    postfix: PrivatePostfix
    ports: dict[str, int]
    milters: dict[str, int]
    """The leaders of their sessions."""

    def way(self, name: str, sessions: int) -> Way:
        """How messages are submitted there."""
        milter = self.milters.get(name)
        own = (lambda: session(milter)) if milter else tuple
        return Way(partial(submit, self.ports[name], sessions), (self.postfix.processes, own))


def run(messages: int, sessions: int, rounds: int) -> list[Ratio]:
    """Measure and tell."""
    with workspace() as folder, site(folder) as here:
        found = measure({name: here.way(name, sessions) for name in here.ports}, messages, rounds)
    for name, costs in found.items():
        wall, processor, own = (typical(costs, what) for what in ("wall", "processor", "own"))
        print(f"{name:8} {1000 / wall:7,.0f} a second, {processor:.2f} ms of processor a message, {own:.2f} of it here")
    ours = found[RETOUR_MILTER]
    return [
        Ratio("accept: retour milter / bare pymilter", ratio(ours, found[BARE]), 0.70, 0.90),
        Ratio("accept: retour milter / no milter", ratio(ours, found[NONE]), 0.45, 0.57),
        Ratio("accept: the same, by processor / bare", ratio(ours, found[BARE], "processor")),
        Ratio("accept: the same, by processor / none", ratio(ours, found[NONE], "processor")),
    ]


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """All that is measured, running side by side."""
    home, ports = folder / "r", {name: free_port() for name in (NONE, BARE, RETOUR_MILTER)}
    retour("init", "--dir", home, "--domain", DOMAIN)
    config = home / "retour.toml"
    with ExitStack() as stack:
        sockets = folder / "postfix/queue/retour"
        lines = "".join(map(_listener, ports.values(), ("", "unix:retour/bare.sock", "unix:retour/milter.sock")))
        postfix = PrivatePostfix(folder / "postfix", destinations={"example.net": "discard:"}, master=lines)
        stack.enter_context(postfix)
        text = config.read_text().partition("[[stream]]\n")[0] + STREAM
        config.write_text(text.replace(f"unix:{home}/sockets", f"unix:{sockets}"))
        bare = stack.enter_context(_bare(folder, sockets / "bare.sock"))
        ours = stack.enter_context(Child([*RETOUR, "milter", "--config", config], folder=folder, name="milter"))
        ours.wait_ready()
        yield Site(postfix, ports, {BARE: bare.pid, RETOUR_MILTER: ours.pid})


def submit(port: int, sessions: int, messages: int) -> None:
    """Submit so many messages of one recipient each over kept connections, each recipient once a call."""
    argv: Sequence[str] = (
        *(find_installation().command("smtp-source"), "-d", "-N", "-s", str(sessions), "-m", str(messages)),
        *("-l", str(OCTETS), "-f", "news@example.com", "-t", "person@example.net", f"127.0.0.1:{port}"),
    )
    subprocess.run(argv, check=True, env=os.environ | find_installation().environment)


@contextmanager
def _bare(folder: Path, path: Path) -> Iterator[Child]:
    script = Path(__file__).with_name("bare_milter.py")
    with Child([sys.executable, script, path], folder=folder, name="bare", umask=0o000) as child:
        child.wait_answers(path)
        yield child


def _listener(port: int, milters: str) -> str:
    return f"127.0.0.1:{port} inet n - y - - smtpd\n    -o {{ smtpd_milters = {milters} }}\n"
