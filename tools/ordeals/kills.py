"""Kills: services and commands are killed at any moment, under load on a real Postfix; the books are balanced."""

from __future__ import annotations

import signal
import smtplib
import subprocess
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from lab.site import HERE, RETOUR, Site
from lab.wait import PATIENCE, wait_until
from ordeals.books import Book, Verdict, check_file, read_recorded

STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
"""
SERVICES = ("milter", "lmtpd", "courier")
SENDERS = 4
MAX_WAITING = 300
"""Messages in Postfix's queue at which the senders wait: what is tried is Retour, not Postfix's patience."""
COMMANDS = (
    ("purge", "--keep", "400d"),
    ("rebuild",),
    ("suppressions", "add", "someone@example.org", "--scope", "bulk"),
    ("suppressions", "export"),
)


@dataclass
class Load:
    """What the senders hand to Postfix: every message to a recipient of its own who does not exist."""

    site: Site
    book: Book = field(default_factory=Book)
    refused: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._threads = [threading.Thread(target=self._send, args=(n,), daemon=True) for n in range(SENDERS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No more."""
        self._stop.set()
        self._go.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def hold(self, waiting: int, most: int) -> None:
        """Wait or go on, by how many messages are in the queue."""
        (self._go.clear if waiting > most else self._go.set)()

    def _send(self, sender: int) -> None:
        number = 0
        while not self._stop.is_set():
            self._go.wait(PATIENCE)
            number += 1
            self._submit(f"gone+{sender}-{number}@example.net")

    def _submit(self, to: str) -> None:
        """Submit a message as often as it hears a 4xx."""
        message = f"From: news@example.com\r\nTo: {to}\r\nMessage-ID: <{to}>\r\nSubject: news\r\n\r\nnews\r\n"
        while not self._stop.is_set():
            try:
                with smtplib.SMTP(HERE, self.site.postfix.smtp_port, timeout=PATIENCE, local_hostname="app") as client:
                    client.sendmail("news@example.com", [to], message)
            except smtplib.SMTPResponseException as error:
                self.refused[error.smtp_code] += 1
            except smtplib.SMTPRecipientsRefused as error:
                self.refused[next(iter(error.recipients.values()))[0]] += 1
            except (OSError, smtplib.SMTPException):
                self.book.unclear.add(to)
                return
            else:
                self.book.acknowledged.add(to)
                return


def run(folder: Path, seconds: float, chance: Random) -> Verdict:
    """Kill for `seconds`, then let all that waits come through, and compare."""
    killed: Counter[str] = Counter()
    with Site(folder, STREAMS, services=()) as site, ExitStack() as stack:
        children = {name: site.start(name, stack) for name in SERVICES}
        load = Load(site)
        load.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(chance.expovariate(1 / 0.3))  # the moment of a kill is what is tried, not waited for
            if chance.random() < 0.25:
                killed["commands"] += _kill_command(site, chance)
            else:
                name = chance.choice(SERVICES)
                children[name].send_signal(signal.SIGKILL)
                children[name].wait()
                killed[name] += 1
                children[name] = site.start(name, stack)
            load.hold(len(site.postfix.queue()), MAX_WAITING)
        load.stop()
        let_all_through(site)
        recorded = read_recorded(site.home / "retour.db", "gone+")
        faults = load.book.balance(recorded) + check_file(site.home / "retour.db") + differences(site)
    figures: dict[str, int | float | str] = {f"{name} killed": count for name, count in sorted(killed.items())}
    figures |= {"accepted": len(load.book.acknowledged), "recorded": len(recorded)}
    figures |= {"refused for now": sum(load.refused.values()), "cut off": len(load.book.unclear)}
    strange = {code: count for code, count in load.refused.items() if code // 100 != 4}
    return Verdict(figures, (*faults, *(f"{count} messages heard {code}" for code, count in strange.items())))


def _kill_command(site: Site, chance: Random) -> int:
    """Start a command and kill it after a moment; whether it was still at work."""
    words = [*RETOUR, *chance.choice(COMMANDS), "--config", str(site.config)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(chance.uniform(0.2, 1.2))
        except subprocess.TimeoutExpired:
            process.kill()
            return 1
    return 0


def let_all_through(site: Site) -> None:
    """Wait until Postfix has nothing left, asking it to try again meanwhile."""

    def empty() -> bool:
        waiting = len(site.postfix.queue())
        if waiting:
            site.postfix.flush()
        return not waiting

    left = len(site.postfix.queue())
    while left:
        wait_until(lambda left=left: empty() or len(site.postfix.queue()) < left, what="less in the queue")  # type: ignore[misc]
        left = len(site.postfix.queue())


def differences(site: Site) -> list[str]:
    """The fault that `retour rebuild` finds, if it does."""
    said = site.retour("rebuild", "--check")
    return [f"rebuild finds a difference: {said.stdout.strip()[:300]}"] if said.returncode else []
