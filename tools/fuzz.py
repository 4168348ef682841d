"""`make fuzz`: searches, guided by coverage, for input that breaks a promise; tells how many inputs, and the reach.

    fuzz.py [--seconds 1800] [--inputs 0] [NAME ...]

The seconds are shared evenly; with --inputs each target ends after that many instead. What is found is kept in
build/, and what reached new code in build/fuzz/NAME, so that the next search goes on from there. Exit status 1 if
anything was found.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
READ = ROOT / "tests/bounces/fuzz_read.py"
TARGETS = {"read": READ} | {
    path.stem.removeprefix("fuzz_"): path for path in sorted((ROOT / "tests/fuzz").glob("fuzz_*.py"))
}
MAX_OCTETS = {"read": 30_000, "lmtp": 300, "lists": 1_000, "milter": 1_000, "tokens": 200}
SEEDS = {
    "config": [(ROOT / "policy/retour_policy/config/example.toml").read_text()],
    "lists": [
        "caddress,cause,scope,since,until,note\na@example.com,hard,everywhere,2026-01-01,2027-01-01T00:00:00Z,gone\n",
        ' "a@example.com",complaint,news,1700000000,,"of ""two""\nlines"\n',
        'j{"address": "a@example.com", "cause": "operator", "scope": "bulk", "since": 1700000000, "until": null}\n',
    ],
    "lmtp": [
        "\x11DATA\r\nSubject: x\r\n\r\n..\r\n.\r\nMAIL FROM:<a@b> BODY=8BITMIME\r\nRSET\r\nQUIT\r\n",
        "\x11RCPT TO:<%>\r\nDATA\r\nx\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<%>\r\nDATA\r\n.\r\n",
    ],
}
DONE = re.compile(r"#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+)")
LINES_SHOWN = 25


def main() -> int:
    """Run the targets that were asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=1800)
    parser.add_argument("--inputs", type=int, default=0)
    asked = parser.parse_args()
    unknown = set(asked.names) - TARGETS.keys()
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    names = asked.names or list(TARGETS)
    limit = f"-runs={asked.inputs}" if asked.inputs else f"-max_total_time={max(1, asked.seconds // len(names))}"
    print(f"{'target':12}{'inputs':>12}{'places reached':>16}{'paths':>10}")
    held = [_search(name, limit) for name in names]
    return int(not all(held))


def _search(name: str, limit: str) -> bool:
    """Run one target; whether nothing was found."""
    corpus = BUILD / "fuzz" / name
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = [BUILD / "seeds"] if name == "read" and (BUILD / "seeds").is_dir() else []
    for number, text in enumerate(SEEDS.get(name, ())):
        (corpus / f"seed-{number}").write_text(text)
    options = [limit, f"-max_len={MAX_OCTETS.get(name, 10_000)}", "-timeout=10", "-rss_limit_mb=2048"]
    done = subprocess.run(
        [sys.executable, TARGETS[name], *options, f"-artifact_prefix={BUILD}/", corpus, *seeds],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    reach = DONE.search(said)
    if reach and done.returncode == 0:
        print(f"{name:12}{int(reach[1]):>12,}{int(reach[2]):>16,}{int(reach[3]):>10,}", flush=True)
        return True
    print(f"{name:12}[fault]\n" + "\n".join(said.splitlines()[-LINES_SHOWN:]), flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
