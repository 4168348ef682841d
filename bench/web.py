"""How many one-click POSTs a second the web service commits, with the load generator beside it on the same machine.

    web.py [--posts 6000] [--connections 32]

Each is an unsubscription of its own, by a token of its own, over keep-alive connections as a web server before it has.
The service's processor time is counted, too, because other work on the machine does not change it: its threads share
one core, so the time of a POST says how many that core does in a second. Exit status 1 where those are less than 500 in
the best of three rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from lab.process import workspace
from lab.web import ONE_CLICK, WebService

ROUNDS = 3
LEAST = 500
HEAD = "POST /u/{token} HTTP/1.1\r\nHost: u.example.com\r\nContent-Type: application/x-www-form-urlencoded\r\n"
HEAD += f"Content-Length: {len(ONE_CLICK)}\r\n\r\n"
DONE = b"Unsubscribed.\n"


async def connection(path: Path, todo: list[str]) -> None:
    """Click until nothing is left."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    while todo:
        writer.write(HEAD.format(token=todo.pop()).encode() + ONE_CLICK)
        answer = await reader.readuntil(DONE)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(answer.decode())
    writer.close()


async def click_all(path: Path, tokens: list[str], connections: int) -> float:
    """POSTs a second."""
    count, began = len(tokens), time.perf_counter()
    await asyncio.gather(*(connection(path, tokens) for _ in range(connections)))
    return count / (time.perf_counter() - began)


def processor_s(pid: int) -> float:
    """The processor time that a process has used: seconds in user and system mode, proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=6_000)
    parser.add_argument("--connections", type=int, default=32)
    args = parser.parse_args()
    rates, by_core = [], []
    with workspace() as folder, WebService(folder) as web:
        for number in range(ROUNDS):
            tokens = web.tokens(f"r{number}-{one}@example.net" for one in range(args.posts // ROUNDS))
            count, before = len(tokens), processor_s(web.child.pid)
            rates.append(asyncio.run(click_all(web.socket, tokens, args.connections)))
            by_core.append(count / (processor_s(web.child.pid) - before))
        kinds = web.kinds()
    if kinds != ["unsubscribe"] * (args.posts // ROUNDS * ROUNDS):
        raise RuntimeError(f"{len(kinds)} facts of {args.posts} clicks")
    print(
        f"{max(rates):8,.0f} one-click POSTs a second committed, {args.connections} connections, beside all else here"
    )
    print(f"{max(by_core):8,.0f} a second of one core's time; at least {LEAST}")
    return int(max(by_core) < LEAST)


if __name__ == "__main__":
    sys.exit(main())
