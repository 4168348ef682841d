"""Soak: an even load on a real Postfix; the last third must cost what the first cost, in processor and in memory."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from lab.site import Site
from ordeals.books import Verdict, check_file, read_recorded
from ordeals.kills import MAX_WAITING, SERVICES, STREAMS, Load, differences, let_all_through

MAX_COST_GROWTH = 1.3
MAX_MEMORY_GROWTH = 1.2
PAUSE_S = 0.2
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a service has used up to now."""

    processor_s: float
    memory_mb: float

    @classmethod
    def of(cls, pid: int) -> Reading:
        """Of the process with that number."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return cls((int(fields[11]) + int(fields[12])) / TICKS_A_SECOND, pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def run(folder: Path, seconds: float, chance: Random) -> Verdict:
    """Three equal parts under load; the books at the end."""
    with Site(folder, STREAMS, services=()) as site, ExitStack() as stack:
        pids = {name: site.start(name, stack).pid for name in SERVICES}
        load = Load(site)
        load.start()
        marks = [_read(pids, load)]
        begin = time.monotonic()
        for part in (1, 2, 3):
            while time.monotonic() < begin + seconds * part / 3:
                time.sleep(PAUSE_S)
                load.hold(len(site.postfix.queue()), MAX_WAITING)
            marks.append(_read(pids, load))
        load.stop()
        let_all_through(site)
        database = site.home / "retour.db"
        recorded = read_recorded(database, "gone+")
        faults = load.book.balance(recorded) + check_file(database) + differences(site)
    figures: dict[str, int | float | str] = {"accepted": len(load.book.acknowledged), "recorded": len(recorded)}
    for name in SERVICES:
        cost, memory = _growth([(readings[name], count) for readings, count in marks])
        figures |= {f"{name}: processor a message, last / first third": cost, f"{name}: memory": memory}
        if name != "courier" and cost > MAX_COST_GROWTH:
            faults.append(f"{name}: a message costs {cost} times what it cost at first")
        if memory > MAX_MEMORY_GROWTH:
            faults.append(f"{name}: {memory} times the memory of the first third")
    return Verdict(figures, tuple(faults))


def _read(pids: dict[str, int], load: Load) -> tuple[dict[str, Reading], int]:
    return {name: Reading.of(pid) for name, pid in pids.items()}, len(load.book.acknowledged)


def _growth(marks: list[tuple[Reading, int]]) -> tuple[float, float]:
    """Processor time a message and memory: the last third against the first."""
    (begin, sent0), (first, sent1), (second, sent2), (last, sent3) = marks
    at_first = (first.processor_s - begin.processor_s) / max(1, sent1 - sent0)
    at_last = (last.processor_s - second.processor_s) / max(1, sent3 - sent2)
    return round(at_last / at_first, 2) if at_first else 1.0, round(last.memory_mb / first.memory_mb, 2)
