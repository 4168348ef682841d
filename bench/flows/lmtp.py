"""LMTP: reports a second answered 250 by `retour lmtpd`, by dovecot-lmtpd, and by aiosmtpd that throws them away."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from flows.dovecot import dovecot
from flows.ratios import Ratio
from flows.reports import deliver, make_sends
from flows.turns import Way, measure, ratio, session, typical
from lab.process import Child, workspace
from lab.site import DOMAIN, RETOUR, retour

OURS, DOVECOT, DISCARD = "retour", "dovecot", "discard"
STREAM = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
"""


def run(items: int, sessions: int, rounds: int) -> list[Ratio]:
    """Measure and tell."""
    with workspace() as folder, _ways(folder, items, sessions, rounds) as ways:
        found = measure(ways, items, rounds)
    for name, costs in found.items():
        wall, own = typical(costs, "wall"), typical(costs, "own")
        print(f"{name:16} {1000 / wall:7,.0f} a second, {own:.2f} ms of processor a report")
    ours, workers = found[OURS], f"{OURS}, workers"
    ratios = [
        Ratio("lmtp: one worker / aiosmtpd that discards", ratio(ours, found[DISCARD]), 0.3, 0.5),
        Ratio("lmtp: the same, by processor", ratio(ours, found[DISCARD], "own")),
    ]
    if DOVECOT in found:
        ratios.append(Ratio("lmtp: workers = cores / dovecot-lmtpd", ratio(found[workers], found[DOVECOT]), 1.2, 2.0))
        ratios.append(Ratio("lmtp: the same, by processor", ratio(found[workers], found[DOVECOT], "own")))
    return ratios


@contextmanager
def _ways(folder: Path, items: int, sessions: int, rounds: int) -> Iterator[dict[str, Way]]:
    with ExitStack() as stack:
        ways = {}
        for name, workers in ((OURS, 1), (f"{OURS}, workers", os.cpu_count() or 1)):
            ways[name] = stack.enter_context(_retour(folder / f"w{workers}", workers, items * (rounds + 1), sessions))
        script = Path(__file__).with_name("discard_lmtp.py")
        discard = stack.enter_context(Child([sys.executable, script, folder / "d.sock"], folder=folder, name="discard"))
        discard.wait_answers(folder / "d.sock")
        ways[DISCARD] = _way(discard, folder / "d.sock", sessions)
        if Path("/usr/sbin/dovecot").exists():
            ways[DOVECOT] = _way(*stack.enter_context(dovecot(folder / "dovecot")), sessions)
        yield ways


@contextmanager
def _retour(folder: Path, workers: int, sends: int, sessions: int) -> Iterator[Way]:
    folder.mkdir()
    home = folder / "r"
    retour("init", "--dir", home, "--domain", DOMAIN)
    config = home / "retour.toml"
    config.write_text(config.read_text().partition("[[stream]]\n")[0] + STREAM)
    sent = iter(make_sends(config, sends, "u"))
    argv = [*RETOUR, "lmtpd", *(["--workers", str(workers)] if workers > 1 else []), "--config", config]
    with Child(argv, folder=folder, name="lmtpd") as child:
        child.wait_ready()

        def work(items: int) -> None:
            deliver(home / "sockets/lmtp.sock", [next(sent) for _ in range(items)], sessions)

        yield Way(work, (partial(session, child.pid),))


def _way(child: Child, path: Path, sessions: int) -> Way:
    def work(items: int) -> None:
        deliver(path, [(f"u{number % 50}@example.net", "x@example.net") for number in range(items)], sessions)

    return Way(work, (partial(session, child.pid),))
