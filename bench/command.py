"""What the command `retour` costs: processor time of `--help` and of `explain`, against a Python that starts and ends.

    command.py [--rounds 7]

Processor time, not wall time. Exit status 1 if one takes more than its limit on this machine: 0.25 s and 0.4 s.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MESSAGE = ROOT / "tests/bounces/fixtures/courier-both-1.eml"
COMMANDS = {
    "python -c pass": ([sys.executable, "-c", "pass"], 9.9),
    "retour --help": ([sys.executable, "-m", "retour_cli", "--help"], 0.25),
    "retour explain": ([sys.executable, "-m", "retour_cli", "explain", str(MESSAGE)], 0.4),
}


def processor_s(argv: list[str]) -> float:
    """Seconds of processor time that a command takes, its children's included."""
    before = os.times()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> int:
    """Print the best of some rounds for each, in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    best = dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(rounds):
        for name, (argv, _limit) in COMMANDS.items():
            best[name] = min(best[name], processor_s(argv))
    for name, (_argv, limit) in COMMANDS.items():
        print(f"{name:16} {best[name]:.3f} s of processor time" + (f"   at most {limit}" if limit < 9 else ""))
    return int(any(best[name] > limit for name, (_argv, limit) in COMMANDS.items()))


if __name__ == "__main__":
    sys.exit(main())
