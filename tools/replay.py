"""Replay: two windows in which a large provider refused mailboxes that exist, among a week's normal traffic.

    replay.py [--scale 1.0] [--weeks 3]

100,000 sends a week at scale 1 to 30 sides, by two daily senders and a weekly one, with the clock injected,
through the code that the milter and the LMTP daemon run, which takes some minutes. Prints a line for each preset;
exit status 1 where the careful policy harmed somebody healthy or missed somebody dead, or where plain counting
harmed nobody.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click
from sqlalchemy import Connection

from lab.reports import failed
from lab.world import SECRET, World
from retour_bounces import RecipientReport, Report
from retour_policy.address import address_key
from retour_policy.clock import DAY, HOUR, MINUTE
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store.sends import NewSend
from retour_policy.store.suppressions import find_in_force

STEP = 5 * MINUTE
PROVIDER = "gmail.example"
WEIGHT = 12  # of the provider among the sides: between a fifth and a quarter of the readers
BEGINS = "2020-12-10T00:00"
OUTAGES = (("2020-12-14T20:00", "2020-12-14T22:30"), ("2020-12-15T20:30", "2020-12-16T00:40"))
OUTAGE_SHARE = 0.7  # of the provider's recipients refused while it lasts
DEAD_BEFORE = 0.01
DYING = 0.005  # in the week of the outage
FULL = 0.005  # soft bounces among the healthy, by chance
STREAMS = [{"name": "daily"}, {"name": "digest"}, {"name": "weekly"}]
EVENING = (18 * HOUR, 24 * HOUR)  # when the two daily mails go out, each reader's at a time of its own


def at(text: str) -> int:
    """Milliseconds since 1970 of a time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Person:
    """A recipient, who has a fixed time of day (or week) for mail."""

    address: str
    stream: str
    offset: int
    dead_from: int | None


@dataclass
class Tally:
    """What happened, counted."""

    sent: int = 0
    refused: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    left_over: int = 0
    """The largest number of healthy recipients that were suppressed or paused when a storm closed."""


def population(scale: float, begins: int, seed: int) -> list[Person]:
    """5,000 readers of two daily mails and 30,000 of a weekly one, at 30 sides of very different size."""
    chance = random.Random(seed)
    sides = [PROVIDER] + [f"side{number}.example" for number in range(29)]
    weights = [WEIGHT] + [10 / (number + 1) for number in range(29)]
    people = []
    for streams, count, times in (
        (("daily", "digest"), int(5_000 * scale), EVENING),
        (("weekly",), int(30_000 * scale), (0, 7 * DAY)),
    ):
        for number in range(count):
            side = chance.choices(sides, weights)[0]
            draw = chance.random()
            dead = begins if draw < DEAD_BEFORE else None
            if DEAD_BEFORE <= draw < DEAD_BEFORE + DYING:
                dead = begins + 3 * DAY + chance.randrange(5 * DAY)
            address = f"{streams[0]}{number}@{side}"
            people += [Person(address, stream, chance.randrange(*times), dead) for stream in streams]
    return people


def mailings(people: list[Person], begins: int, weeks: int) -> Iterator[tuple[int, Person]]:
    """Every mail that the two senders want to send, in the order of time."""
    ends = begins + weeks * 7 * DAY
    heap = [(begins + person.offset, number) for number, person in enumerate(people)]
    heapq.heapify(heap)
    while heap:
        when, number = heap[0]
        person = people[number]
        yield when, person
        following = when + (7 * DAY if person.stream == "weekly" else DAY)
        if following < ends:
            heapq.heapreplace(heap, (following, number))
        else:
            heapq.heappop(heap)


class Replay:
    """One run under one policy."""

    def __init__(self, world: World, people: list[Person], seed: int) -> None:
        self.world = world
        self.people = people
        self.tally = Tally()
        self._chance = random.Random(seed)
        self._outages = [(at(one), at(two)) for one, two in OUTAGES]
        self._digest = 0
        self._closed = 0

    def run(self, begins: int, weeks: int, played: Callable[[int], object]) -> None:
        """Send everything, five minutes per transaction; `played` is called with the milliseconds of each piece."""
        now = begins
        pending = mailings(self.people, begins, weeks)
        following = next(pending, None)
        while following is not None:
            slot = following[0] - following[0] % STEP
            with self.world.store.writing() as connection:
                while following is not None and following[0] < slot + STEP:
                    self.world.now = following[0]
                    self._mail(connection, following[1])
                    following = next(pending, None)
                self.world.now = slot + STEP
                while self.world.storms.tick(connection, self.world.ledger, self.world.now):
                    pass
            self._look_at_storms()
            played(self.world.now - now)
            now = self.world.now

    def _look_at_storms(self) -> None:
        closed = sum(storm.closed is not None for storm in self.world.storm_list())
        if closed > self._closed:
            stopped = set(self.world.suppressed())
            harmed = len({p.address for p in self.people if p.dead_from is None} & stopped)
            self.tally.left_over = max(self.tally.left_over, harmed)
        self._closed = closed

    def _mail(self, connection: Connection, person: Person) -> None:
        now, key = self.world.now, address_key(SECRET, person.address)
        if find_in_force(connection, key, person.stream, now, transactional=False):
            self.tally.refused += 1
            return
        new = NewSend(person.stream, "app@example.com", (person.address,))
        gone = self.world.outgoing.record(connection, new, {}, track=True, watch=True)
        self.tally.sent += 1
        part = self._fate(person, now)
        if part is not None:
            self._digest += 1
            route = Route("verp", None, gone.send)
            arrival = ReturnedMessage(
                now, route, "b-x@b", "", b"", self._digest.to_bytes(16, "big"), Report("bounce", (part,))
            )
            self.world.recorder.record(connection, arrival)

    def _fate(self, person: Person, now: int) -> RecipientReport | None:
        if person.dead_from is not None and now >= person.dead_from:
            return self._failed(person, "dead", "hard", "5.1.1", "userunknown")
        in_outage = any(begins <= now < ends for begins, ends in self._outages)
        if in_outage and person.address.endswith(PROVIDER) and self._chance.random() < OUTAGE_SHARE:
            return self._failed(person, "outage", "hard", "5.1.1", "userunknown")
        if self._chance.random() < FULL:
            return self._failed(person, "full", "soft", "5.2.2", "mailboxfull")
        return None

    def _failed(
        self, person: Person, why: str, type_: Literal["hard", "soft"], status: str, reason: str
    ) -> RecipientReport:
        self.tally.failed[why] += 1
        return failed(person.address, type_, status=status, reason=reason, diagnostic="")


@dataclass(frozen=True, slots=True)
class Result:
    """Who gets mail at the end, and who does not."""

    sent: int
    outage_failures: int
    left_over: int
    healthy_harmed: int
    dead: int
    dead_found: int
    storms: int

    def row(self, preset: str) -> str:
        """A line of the table."""
        return (
            f"{preset:<8} {self.sent:>8,} {self.outage_failures:>8,} {self.storms:>6} {self.left_over:>12,} "
            f"{self.healthy_harmed:>10,} "
            f"{self.dead_found:>6,} of {self.dead:,}"
        )


HEAD = (
    "                  outage         healthy harmed\n"
    "preset      sends failures storms after storms at the end   dead found"
)


def replay(preset: str, scale: float, weeks: int, seed: int = 1) -> Result:
    """Run once; `healthy harmed` are living recipients that are suppressed or paused at the end.

    Dead are those who died in all weeks but the last two, so that the weekly mail was sent to them twice.
    """
    begins = at(BEGINS)
    people = population(scale, begins, seed)
    with tempfile.TemporaryDirectory() as folder:
        config = {"stream": STREAMS, "policy": {"preset": preset}}
        with World(Path(folder), config, begins=BEGINS) as world:
            run = Replay(world, people, seed)
            with click.progressbar(length=weeks * 7 * DAY, label=f"playing {preset}", file=sys.stderr) as bar:
                run.run(begins, weeks, bar.update)
            stopped = set(world.suppressed())
            ends = begins + (weeks - 2) * 7 * DAY  # those who died before that were sent two mails since
            dead = {p.address for p in people if p.dead_from is not None and p.dead_from < ends}
            healthy = {p.address for p in people if p.dead_from is None}
            return Result(
                run.tally.sent,
                run.tally.failed["outage"],
                run.tally.left_over,
                sum(one in stopped for one in healthy),
                len(dead),
                sum(one in stopped for one in dead),
                len(world.storm_list()),
            )


def is_as_promised(careful: Result, plain: Result) -> bool:
    """Nobody healthy harmed and all dead found under the careful policy, and damage under plain counting."""
    harmed = careful.left_over + careful.healthy_harmed
    return harmed == 0 and careful.dead_found == careful.dead > 0 and careful.storms > 0 < plain.healthy_harmed


def main() -> int:
    """Print the table for both presets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--weeks", type=int, default=3)
    args = parser.parse_args()
    print(HEAD, flush=True)
    results = {}
    for preset in ("careful", "plain"):
        began = time.monotonic()
        results[preset] = replay(preset, args.scale, args.weeks)
        print(results[preset].row(preset), f"  ({time.monotonic() - began:.0f} s)", flush=True)
    return int(not is_as_promised(results["careful"], results["plain"]))


if __name__ == "__main__":
    sys.exit(main())
