"""`make policy-lab`: what policies cost: sends wasted on the dead, and living readers stopped, in many situations.

    policy_lab.py [--years 3] [--scale 1.0] [--policy "NAME: KEY=VALUE ..."] [GROUP ...]

Each situation is a stream with readers of its own. The clock is injected; sends and reports go through the code that
the milter and the LMTP daemon run. Printed for the presets, for each --policy (careful with other numbers), and for a
model that suppresses for good at the first hard bounce and the third soft one, as many senders do.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import click
from sqlalchemy import Connection

from lab.reports import failed
from lab.world import LIKE, SECRET, World
from retour_bounces import Report
from retour_policy.address import address_key
from retour_policy.clock import DAY, HOUR
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store.sends import NewSend
from retour_policy.store.suppressions import find_in_force

STREAM = "news"
BEGINS = "2026-01-05T00:00"
PACES = {"daily": DAY, "weekly": 7 * DAY, "monthly": 30 * DAY, "quarterly": 91 * DAY}
MEMORY = Path("/dev/shm")  # nothing of this needs to last
FIRST_BOUNCE_SOFT = 3

Fate = Callable[["Reader", int, random.Random], str | None]
"""What becomes of a mail to a reader at a time (milliseconds since the beginning): a kind of failure, or None."""


@dataclass
class Reader:
    """Somebody who gets the mail of one situation, and what became of it."""

    address: str
    every: int
    first: int
    dead_from: int | None = None
    wasted: int = 0
    """Mails sent after their death."""
    missed: int = 0
    """Mails that were withheld while they lived."""
    got: int = 0
    stopped_last: bool = False
    """Whether the latest mail was withheld."""


@dataclass(frozen=True)
class Group:
    """One situation."""

    name: str
    readers: list[Reader]
    fate: Fate
    lasts: int
    """How long it is played, in milliseconds."""


class Policy(Protocol):
    """What decides."""

    def is_stopped(self, reader: Reader) -> bool:
        """Whether a mail is withheld now."""

    def record(self, reader: Reader, failure: str | None) -> None:
        """A mail goes out, and comes back if it failed."""

    def pass_time(self, now: int) -> None:
        """It is now that late, in milliseconds since the beginning."""


class Ours:
    """Retour, under some configuration."""

    def __init__(self, folder: Path, policy: Mapping[str, Any]) -> None:
        self._world = World(folder, {"stream": [{"name": STREAM}], "policy": dict(policy)}, begins=BEGINS)
        self._reports = 0
        self._connection: Connection | None = None

    def __enter__(self) -> Ours:
        self._world.__enter__()
        self._begin = self._world.now
        return self

    def __exit__(self, *error: object) -> None:
        self._end_transaction()
        self._world.__exit__(*error)

    def is_stopped(self, reader: Reader) -> bool:
        """As the milter asks."""
        key = address_key(SECRET, reader.address)
        return find_in_force(self._open(), key, STREAM, self._world.now, transactional=False) is not None

    def record(self, reader: Reader, failure: str | None) -> None:
        """As the milter and the LMTP daemon record."""
        connection = self._open()
        new = NewSend(STREAM, "app@example.com", (reader.address,))
        gone = self._world.outgoing.record(connection, new, {}, track=True, watch=True)
        if failure is None:
            return
        type_, status, reason, blame = LIKE[failure]
        part = failed(reader.address, type_, status=status, reason=reason, blame=blame, diagnostic="")
        self._reports += 1
        route, identity = Route("verp", None, gone.send), self._reports.to_bytes(16, "big")
        report = Report("bounce", (part,))
        arrival = ReturnedMessage(self._world.now, route, "b-x@b", "", b"", identity, report)
        self._world.recorder.record(connection, arrival)

    def pass_time(self, now: int) -> None:
        """Do what the daemon does every few seconds, once an hour in which something was sent."""
        before, self._world.now = self._world.now, self._begin + now
        if self._world.now // HOUR > before // HOUR:
            while self._world.storms.tick(self._open(), self._world.ledger, self._world.now):
                pass
            self._end_transaction()

    def _open(self) -> Connection:
        if self._connection is None:
            self._transaction = self._world.store.writing()
            self._connection = self._transaction.__enter__()
        return self._connection

    def _end_transaction(self) -> None:
        if self._connection is not None:
            self._connection = None
            self._transaction.__exit__(None, None, None)


class FirstBounce:
    """A model of what many senders do: gone for good at the first hard bounce, or the third soft one."""

    def __init__(self) -> None:
        self._soft: dict[str, int] = {}
        self._gone: set[str] = set()

    def is_stopped(self, reader: Reader) -> bool:
        """For good."""
        return reader.address in self._gone

    def record(self, reader: Reader, failure: str | None) -> None:
        """Who is to blame does not matter."""
        if failure is None:
            return
        soft = LIKE[failure][0] == "soft"
        self._soft[reader.address] = self._soft.get(reader.address, 0) + soft
        if not soft or self._soft[reader.address] >= FIRST_BOUNCE_SOFT:
            self._gone.add(reader.address)

    def pass_time(self, now: int) -> None:
        """It forgets nothing."""


def alive(reader: Reader, now: int, chance: random.Random) -> str | None:
    """Everything arrives, until they are gone."""
    return "gone" if reader.dead_from is not None and now >= reader.dead_from else None


def reachable(reader: Reader, now: int, chance: random.Random) -> str | None:
    """Everything arrives, until their server is gone."""
    return "timeout" if reader.dead_from is not None and now >= reader.dead_from else None


def at_times(kind: str, share: float) -> Fate:
    """A part of the mail fails, by chance."""
    return lambda reader, now, chance: kind if chance.random() < share else None


def outages(kind: str, *spans: tuple[int, int]) -> Fate:
    """All mail fails in some spans."""
    return lambda reader, now, chance: kind if any(begins <= now < ends for begins, ends in spans) else None


def groups(years: float, scale: float = 1.0) -> list[Group]:
    """All situations; `scale` is for the number of readers where it does not matter."""
    long, chance, many = int(years * 365 * DAY), random.Random(1), max(10, round(100 * scale))
    found = []
    for pace, every in PACES.items():
        found += [
            Group(f"living {pace}", _readers(f"living-{pace}", every, many // 2), alive, long),
            Group(f"dead among living {pace}", _dead_among_living(pace, every, many, chance), alive, long),
            Group(f"5 % false 5.1.1 {pace}", _readers(f"false-{pace}", every, many), at_times("gone", 0.05), long),
            Group(f"full 30 % of the time {pace}", _readers(f"full-{pace}", every, many), at_times("full", 0.3), long),
        ]
    for size in (1, 5, 50):
        for pace in ("weekly", "monthly", "quarterly"):
            found.append(Group(f"dead domain of {size} {pace}", _dead_domain("dead", size, pace), alive, long))
    for size in (1, 5):
        for pace in ("weekly", "monthly", "quarterly"):
            readers = _dead_domain("unreachable", size, pace)
            found.append(Group(f"unreachable domain of {size} {pace}", readers, reachable, long))
    found.append(Group("a quarter of 240 dead, daily", _quarter_dead(), alive, 60 * DAY))
    for kind in ("gone", "full", "timeout"):
        for hours in (6, 24, 96, 192, 264):
            fate = outages(kind, (20 * DAY, 20 * DAY + hours * HOUR))
            for size in (600, 12, 3):
                readers = _readers(f"out-{kind}-{hours}-{size}", DAY, size, sides=max(1, 60 // size))
                found.append(Group(f"{kind} for {hours} h, sides of {size}, daily", readers, fate, 90 * DAY))
    again = [(day * DAY, (day + 1) * DAY) for day in (10, 14, 18)]
    for size in (600, 12, 3):
        readers = _readers(f"again-{size}", DAY, size, sides=max(1, 60 // size))
        found.append(Group(f"gone on days 10, 14, 18, sides of {size}", readers, outages("gone", *again), 90 * DAY))
    return found


def _readers(mark: str, every: int, count: int, sides: int = 1) -> list[Reader]:
    """Readers who all get their mail in the morning, `count` at each of some sides."""
    return [
        Reader(f"r{number}@{mark}-{side}.example", every, 9 * HOUR + number * 1000)
        for side in range(sides)
        for number in range(count)
    ]


def _dead_among_living(pace: str, every: int, many: int, chance: random.Random) -> list[Reader]:
    readers = _readers(f"some-dead-{pace}", every, many)
    for reader in readers[: many // 10]:
        reader.dead_from = chance.randrange(180 * DAY)
    return readers


def _dead_domain(how: str, size: int, pace: str) -> list[Reader]:
    readers = _readers(f"{how}-domain-{size}-{pace}", PACES[pace], size)
    for reader in readers:
        reader.dead_from = 95 * DAY
    return readers


def _quarter_dead() -> list[Reader]:
    readers = _readers("quarter-dead", DAY, 240)
    for reader in readers[:60]:
        reader.dead_from = 0
    return readers


def play(group: Group, policy: Policy, seed: int = 1) -> None:
    """Send everything of a situation, in the order of time."""
    chance = random.Random(seed)
    for now, reader in _mailings(group):
        policy.pass_time(now)
        is_dead = reader.dead_from is not None and now >= reader.dead_from
        reader.stopped_last = policy.is_stopped(reader)
        if reader.stopped_last:
            reader.missed += not is_dead
            continue
        reader.wasted += is_dead
        reader.got += not is_dead
        policy.record(reader, group.fate(reader, now, chance))


def _mailings(group: Group) -> Iterator[tuple[int, Reader]]:
    heap = [(reader.first, number) for number, reader in enumerate(group.readers)]
    heapq.heapify(heap)
    while heap:
        now, number = heap[0]
        reader = group.readers[number]
        yield now, reader
        if now + reader.every < group.lasts:
            heapq.heapreplace(heap, (now + reader.every, number))
        else:
            heapq.heappop(heap)


@dataclass(frozen=True)
class Result:
    """What a policy did in one situation."""

    dead: int
    found: int
    """Of the dead, whose latest mail was withheld."""
    wasted: float
    """Sends to each of the dead, on average."""
    living: int
    stopped: int
    """Of the living, who missed at least one mail."""
    days: float
    """How long those were stopped, on average."""

    @classmethod
    def of(cls, group: Group) -> Result:
        """What came of a situation that was played."""
        dead = [one for one in group.readers if one.dead_from is not None]
        living = [one for one in group.readers if one.dead_from is None]
        days = [one.missed * one.every / DAY for one in living if one.missed]
        return cls(
            dead=len(dead),
            found=sum(one.stopped_last for one in dead),
            wasted=statistics.fmean(one.wasted for one in dead) if dead else 0.0,
            living=len(living),
            stopped=len(days),
            days=statistics.fmean(days) if days else 0.0,
        )

    def words(self) -> str:
        """A cell of the table."""
        parts = []
        if self.dead:
            parts.append(f"{self.found}/{self.dead} in {self.wasted:.1f}")
        if self.living:
            parts.append(f"{self.stopped}/{self.living}" + (f" {self.days:.0f}d" if self.stopped else ""))
        return ", ".join(parts)


@dataclass
class Column:
    """One policy."""

    name: str
    keys: Mapping[str, Any] | None
    """None: the model of the first bounce."""
    results: dict[str, Result] = field(default_factory=dict)

    def play(self, group: Group) -> None:
        """Play one situation."""
        if self.keys is None:
            play(group, FirstBounce())
        else:
            where = str(MEMORY) if MEMORY.is_dir() else None
            with tempfile.TemporaryDirectory(dir=where) as folder, Ours(Path(folder) / "w", self.keys) as ours:
                play(group, ours)
        self.results[group.name] = Result.of(group)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="GROUP", help="only situations whose name has one of these words")
    parser.add_argument("--years", type=float, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of readers where it does not matter")
    parser.add_argument("--policy", action="append", default=[], metavar="NAME: KEY=VALUE ...")
    asked = parser.parse_args()
    columns = [
        Column("careful", {"preset": "careful"}),
        *map(_column, asked.policy),
        Column("plain", {"preset": "plain"}),
        Column("first bounce", None),
    ]
    names = [one.name for one in groups(asked.years, asked.scale)]
    names = [name for name in names if not asked.words or any(word in name for word in asked.words)]
    with click.progressbar(length=len(names) * len(columns), label="playing", file=sys.stderr) as bar:
        for column in columns:
            for group in groups(asked.years, asked.scale):
                if group.name in names:
                    column.play(group)
                    bar.update(1)
    print("dead found / dead in sends wasted on each, living stopped / living and for how many days each\n")
    print(f"{'':44}" + "".join(f"{column.name:>26}" for column in columns))
    for name in names:
        print(f"{name:44}" + "".join(f"{column.results[name].words():>26}" for column in columns))
    return 0


def _column(text: str) -> Column:
    name, _, keys = text.partition(":")
    values: dict[str, Any] = {"preset": "careful"}
    for pair in keys.split():
        key, _, value = pair.partition("=")
        values[key] = int(value) if value.isdigit() else value
    return Column(name.strip(), values)


if __name__ == "__main__":
    sys.exit(main())
