"""What storms cost: recording reports, and the service's look at what is due, with 1,000 open storms against none.

Prints ratios of the processor's time taken in this one run, and the limit. Exit status 1 if one is over it.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from lab.mailings import Mailings, sides
from lab.world import World

STORMS = 1_000
ROUNDS = 9
LIMIT = 1.3
CONFIG = {"stream": [{"name": "news"}], "storm": {"sides_share": 0.0}}


def timed(work: Callable[[], object]) -> float:
    """Seconds of the processor's time that `work` takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def recording(world: World, number: int) -> float:
    """Seconds for a mailing of 400 to sides without a storm, of which a tenth fails, with all its ticks."""
    people = [f"new{number}-{to}" for to in sides(40, 10)]
    mailings = Mailings(world, people, lambda to, day: "gone" if "-u0@" in to else None)
    mailings.failed = number * 1_000
    return timed(mailings.mail)


def idle(world: World) -> float:
    """Seconds for looking 200 times at what is due."""
    return timed(lambda: [world.step() for _ in range(200)])


def judge(found: Mapping[str, float]) -> int:
    """Print the ratios; 1 if one is over the limit, else 0."""
    for name, ratio in found.items():
        print(f"{name}, {STORMS:,} storms / none".ljust(40) + f"{ratio:5.2f}   at most {LIMIT}")
    return int(any(ratio > LIMIT for ratio in found.values()))


def main() -> int:
    """Measure and judge."""
    with (
        tempfile.TemporaryDirectory() as folder,
        World(Path(folder, "none"), CONFIG) as none,
        World(Path(folder, "many"), CONFIG) as many,
    ):
        burst = Mailings(many, [to.replace("side", "storm") for to in sides(STORMS, 5)], lambda to, day: "gone")
        burst.failed = 10**6
        burst.mail()
        for world in (none, many):
            world.tick()
            recording(world, 0)
        assert (len(none.storm_list()), len(many.storm_list())) == (0, STORMS)
        rounds = [
            (recording(none, number), recording(many, number), idle(none), idle(many))
            for number in range(1, ROUNDS + 1)
        ]
    return judge(
        {
            "reports": statistics.median(two / one for one, two, _, _ in rounds),
            "nothing is due": statistics.median(four / three for _, _, three, four in rounds),
        }
    )


if __name__ == "__main__":
    sys.exit(main())
