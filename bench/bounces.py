"""Times whole recognition over a folder of returned mail: Retour, flufl.bounce and Sisimai in one run, as
ratios; and reports of many recipients."""

from __future__ import annotations

import argparse
import email
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from lab.hostile import OF_MANY, of_octets
from retour_bounces import read

HERE = Path(__file__).resolve().parent
CORPUS = HERE.parent.parent / "shared" / "corpus" / "dev" / "eml"
FIXTURES = HERE.parent / "tests" / "bounces" / "fixtures"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "retour-bench"
PACKAGES = ("libsisimai-perl", "libclass-accessor-lite-perl", "libjson-perl")
AT_LEAST = {"flufl.bounce": 1.2, "Sisimai": 2.0}
MOST = {"5,000 recipients": 0.3, "15 MB": 0.5}
"""Seconds, on a machine where flufl.bounce reads 1,700 messages a second."""


def of_python(recognise: Callable[[bytes], object], messages: list[bytes]) -> float:
    """CPU seconds of one pass."""
    began = time.process_time()
    for message in messages:
        recognise(message)
    return time.process_time() - began


def flufl() -> Callable[[bytes], object] | None:
    """flufl.bounce's recogniser, with the parser that it needs; None if it is not installed."""
    try:
        bounce = importlib.import_module("flufl.bounce")
    except ImportError:
        return None
    return lambda data: bounce.all_failures(email.message_from_bytes(data))


def sisimai() -> Path:
    """The folder of Sisimai's modules, unpacked from Debian's package; nothing is installed."""
    folder = CACHE / "root"
    if not (folder / "usr/share/perl5/Sisimai.pm").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "-qq", "download", *PACKAGES], cwd=CACHE, check=True, stderr=subprocess.DEVNULL)
        for package in CACHE.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, folder], check=True)
    return folder / "usr/share/perl5"


def of_sisimai(modules: Path, folder: Path) -> float:
    """CPU seconds of one pass, start-up not counted."""
    done = subprocess.run(
        ["perl", f"-I{modules}", HERE / "bounces_sisimai.pl", folder],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def of_many(rounds: int) -> None:
    """Print the CPU seconds of reports of many recipients."""
    print(f"{'':16}" + "".join(f"{size:>18}" for size in MOST) + f"   (at most {', '.join(map(str, MOST.values()))} s)")
    for name, make in OF_MANY.items():
        large = make(5_000), of_octets(make, 15_000_000)
        took = [min(of_python(read, [data]) for _ in range(rounds)) for data in large]
        print(f"{name:16}" + "".join(f"{seconds:16.2f} s" for seconds in took))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=CORPUS if CORPUS.is_dir() else FIXTURES)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    messages = [path.read_bytes() for path in sorted(args.folder.iterdir()) if path.suffix == ".eml"]
    other, modules = flufl(), sisimai()
    read(messages[0])
    best: dict[str, float] = {}
    for _ in range(args.rounds):
        took = {"Retour": of_python(read, messages), "Sisimai": of_sisimai(modules, args.folder)}
        if other is not None:
            took["flufl.bounce"] = of_python(other, messages)
        best = {name: min(seconds, best.get(name, seconds)) for name, seconds in took.items()}
    print(f"{len(messages)} messages, best of {args.rounds} rounds, CPU time of one process")
    for name, seconds in sorted(best.items(), key=lambda one: one[1]):
        print(f"{name:14} {len(messages) / seconds:8.0f} messages/s")
    for name, least in AT_LEAST.items():
        if name in best:
            print(f"Retour / {name:14} {best[name] / best['Retour']:5.2f}   (at least {least})")
    of_many(args.rounds)


if __name__ == "__main__":
    main()
