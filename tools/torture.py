"""`make torture`: puts Retour through ordeals and balances the books. Exit status 1 if anything was lost or doubled.

    torture.py [--seconds 600] [--seed 1] [NAME ...]

The seconds are shared among the ordeals; each takes what it needs besides to come to an end.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from types import ModuleType

from lab.process import workspace
from ordeals.books import Verdict

SHARES = {
    "octets": 0.0,
    "disk": 0.15,
    "silence": 0.05,
    "hostile": 0.1,
    "clocks": 0.1,
    "kills": 0.4,
    "soak": 0.2,
}
"""Each ordeal's share of the time; what takes none is short."""


def main() -> int:
    """Run the ordeals that were asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *SHARES], metavar="NAME", help=", ".join(SHARES))
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    names = asked.names or list(SHARES)
    whole = sum(SHARES[name] for name in names) or 1.0
    verdicts = [_go_through(name, asked.seconds * SHARES[name] / whole, asked.seed) for name in names]
    return int(any(verdict.faults for verdict in verdicts))


def _go_through(name: str, seconds: float, seed: int) -> Verdict:
    ordeal: ModuleType = importlib.import_module(f"ordeals.{name}")
    print(f"== {ordeal.__doc__}", flush=True)
    begin = time.monotonic()
    with workspace() as folder:
        verdict: Verdict = ordeal.run(folder, seconds, random.Random(seed))
    for what, figure in verdict.figures.items():
        print(f"   {what:50} {figure:>12}")
    for fault in verdict.faults:
        print(f"   [fault] {fault}")
    print(f"   {'[fault]' if verdict.faults else '[ok]'} in {time.monotonic() - begin:.0f} s\n", flush=True)
    return verdict


if __name__ == "__main__":
    sys.exit(main())
