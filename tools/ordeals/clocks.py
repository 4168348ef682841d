"""Clocks: the clock jumps years ahead and back while mail goes out and fails; live and rebuilt must agree."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from random import Random

from lab.world import LIKE, World
from ordeals.books import Verdict, check_file
from retour_policy.clock import DAY, HOUR
from retour_policy.maintenance.rebuild import differences

CONFIG = {"stream": [{"name": "news"}], "storm": {"least": 5, "all_of": 3}}
STEPS_A_LIFE = 60
PEOPLE = 12


def run(folder: Path, seconds: float, chance: Random) -> Verdict:
    """Lives of sixty steps for `seconds`, one at least, each in a store of its own."""
    done: Counter[str] = Counter()
    faults: list[str] = []
    until = time.monotonic() + seconds
    while not done or time.monotonic() < until:
        home = folder / f"life-{done['lives']}"
        with World(home, CONFIG) as world:
            _live(world, chance, done)
            faults += [f"life {done['lives']}: {one}" for one in list(differences(world.store))[:1]]
            held = [to for to, why in world.suppressed().items() if "pause" in why]
            world.wait("4d")
            late = [to for to in held if "pause" in world.suppressed().get(to, "")]
            faults += [f"life {done['lives']}: {to} is paused after four days" for to in late[:1]]
        faults += check_file(home / "retour.db")
        done["lives"] += 1
    return Verdict(dict(sorted(done.items())), tuple(faults))


def _live(world: World, chance: Random, done: Counter[str]) -> None:
    """Send, fail, tick; now and then the clock is years ahead for a while."""
    now, sent = world.now, list[tuple[int, str]]()
    for _ in range(STEPS_A_LIFE):
        now += chance.choice((HOUR, DAY, 3 * DAY))
        is_ahead = chance.random() < 0.15
        world.now = now + (chance.randrange(30, 3_000) * DAY if is_ahead else 0)
        done["steps by a clock that was ahead" if is_ahead else "steps by the right clock"] += 1
        to = f"reader{chance.randrange(PEOPLE)}@side{chance.randrange(3)}.example"
        if (send := world.send(to)) is not None:
            sent.append((send, to))
        if sent and chance.random() < 0.6:
            send, to = chance.choice(sent[-5:])
            world.bounce(send, to, like=chance.choice(list(LIKE)))
        world.tick()
        world.now = now
        world.write(lambda connection: world.storms.bring_back(connection, world.now))
    world.tick()
