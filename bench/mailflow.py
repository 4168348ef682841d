"""What Retour costs where mail flows, as ratios within one run, by turns, on a real Postfix.

    mailflow.py [accept | lmtp | loop | memory ...] [--items 3000] [--sessions 16] [--rounds 5]

Without a name all are measured. Exit status 1 if a ratio is not what it must be.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
sys.path.insert(0, str(Path(__file__).parent))

from flows import accept, lmtp
from flows.ratios import Ratio

FLOWS: Mapping[str, Callable[[int, int, int], list[Ratio]]] = {"accept": accept.run, "lmtp": lmtp.run}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flows", nargs="*", choices=[*FLOWS, []], metavar="FLOW")
    parser.add_argument("--items", type=int, default=3_000)
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    ratios = [one for name in args.flows or FLOWS for one in FLOWS[name](args.items, args.sessions, args.rounds)]
    print(*ratios, sep="\n")
    return int(not all(one.is_reached for one in ratios))


if __name__ == "__main__":
    sys.exit(main())
