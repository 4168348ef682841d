"""What it costs to send 10,000 webhooks from the outbox, as a share of the rate at which the bare client posts them.

Both sign and post the same events to the same server on loopback, over as many connections; the server is a process
of its own. The courier also leases each item, keeps its address's order, and notes that it is done, durably.
They take turns in going first, and the median of the rounds counts, so that other work on the machine hits both.
The courier has more threads and so a larger share of a busy machine: besides the rates the processor's seconds that
each takes are compared, and the worse of the two ratios counts.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from sqlalchemy import select
from standardwebhooks import Webhook

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from lab.courier import ring
from lab.receiver import KEY
from lab.world import World
from retour_cli.services import logs
from retour_courier.courier import Courier
from retour_policy.clock import system_clock
from retour_policy.config.secrets import Secrets
from retour_policy.core.hook_events import Data, Event
from retour_policy.messages.signer import Signer
from retour_policy.outbox import queue
from retour_policy.store import schema
from retour_policy.store.outbox import NewItem

ITEMS = 10_000
ADDRESSES = 5_000
CONNECTIONS = 8
ROUNDS = 9
MIN_RATIO = 0.5
_ANY_ITEM = select(schema.outbox.c.id).limit(1)
SERVER = """
import asyncio
import os
from aiohttp import web

async def take(request):
    await request.read()
    return web.Response()

async def main():
    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def events() -> list[Event]:
    """As many as are sent, for different addresses."""
    return [
        Event(
            "bounce.hard", system_clock(), Data(address=f"user{n % ADDRESSES}@example.net", tag=str(n)), n % ADDRESSES
        )
        for n in range(ITEMS)
    ]


@dataclass(frozen=True)
class Elapsed:
    """Seconds, of the wall and of this process."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Elapsed:
        """The current readings of the clocks."""
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: Elapsed) -> Elapsed:
        return Elapsed(self.wall - other.wall, self.cpu - other.cpu)


async def bare(url: str, wanted: list[Event]) -> Elapsed:
    """What the client alone takes."""
    bodies = iter([(event.id, event.to_json()) for event in wanted])
    signer = Webhook(KEY)

    async def work(session: aiohttp.ClientSession) -> None:
        for name, body in bodies:
            now = datetime.now(UTC)
            headers = {"webhook-id": name, "webhook-timestamp": str(int(now.timestamp()))}
            headers["webhook-signature"] = signer.sign(name, now, body.decode())
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                await response.read()

    began = Elapsed.now()
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        await asyncio.gather(*(work(session) for _ in range(CONNECTIONS)))
    return Elapsed.now() - began


async def carried(folder: Path, url: str, wanted: list[Event]) -> Elapsed:
    """What the courier takes, from its start until the outbox is empty."""
    hook = {"name": "app", "on": ["all"], "webhook": url, "secret_file": "/unused", "allow_http": True}
    config = {"hook": [hook | {"allow_private": ["127.0.0.1"], "connections": CONNECTIONS}]}
    with World(folder, config) as world:
        new = [NewItem(e.at, "event", "hook:app", e.type, e.to_json(), e.id, e.ordering) for e in wanted]
        world.writer.run(lambda connection: [queue.put(connection, one) for one in new], 60_000)
        signer = Signer(ring(folder, world), system_clock)
        courier = Courier(world.config, Secrets({"app": (KEY,)}), world.store, world.writer, signer, system_clock)
        began = Elapsed.now()
        running = asyncio.create_task(courier.run())
        while await asyncio.to_thread(left, world):
            await asyncio.sleep(0.05)
        elapsed = Elapsed.now() - began
        courier.stop()
        await running
    return elapsed


def left(world: World) -> bool:
    """Whether anything waits."""
    with world.store.reading() as connection:
        return connection.scalar(_ANY_ITEM) is not None


def compare(url: str, number: int) -> Elapsed:
    """One round: the courier's share of the bare client's rate, by the wall and by the processor."""
    wanted, elapsed = events(), dict[bool, Elapsed]()
    for which in (False, True) if number % 2 else (True, False):
        with tempfile.TemporaryDirectory() as folder:
            elapsed[which] = asyncio.run(carried(Path(folder), url, wanted) if which else bare(url, wanted))
    alone, through = elapsed[False], elapsed[True]
    ratio = Elapsed(alone.wall / through.wall, alone.cpu / through.cpu)
    rates = f"bare client {ITEMS / alone.wall:6.0f}/s   courier {ITEMS / through.wall:6.0f}/s"
    print(f"{rates}   ratio {ratio.wall:.2f}   by processor {ratio.cpu:.2f}", flush=True)
    return ratio


def main() -> int:
    """Print the rates and their ratio; 1 if it is too low."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
    logs.set_up("retour-courier")  # a line for each item, as the service writes them
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/"
        rounds = [compare(url, number) for number in range(ROUNDS)]
        server.kill()
    wall, cpu = (statistics.median(getattr(one, name) for one in rounds) for name in ("wall", "cpu"))
    print(f"median ratio {wall:.2f}, by processor {cpu:.2f} (both at least {MIN_RATIO})")
    return int(min(wall, cpu) < MIN_RATIO)


if __name__ == "__main__":
    sys.exit(main())
