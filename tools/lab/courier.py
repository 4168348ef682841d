"""A courier at work in this process, on the store of a `World`, and with its clock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.receiver import KEY, LOGIN
from lab.wait import PATIENCE, wait_until
from lab.world import World
from retour_courier.courier import Courier
from retour_policy.config.secrets import Secrets
from retour_policy.messages.router import Router
from retour_policy.messages.signer import Signer
from retour_policy.store import outbox_selection
from retour_policy.store.database import Store
from retour_policy.store.outbox import Item
from retour_policy.store.outbox_selection import ItemFilter
from retour_policy.tokens import keyring
from retour_policy.tokens.keyring import KeyRingFile


def ring(folder: Path, world: World) -> KeyRingFile:
    """A key ring in `folder`, created when first needed."""
    path = folder / "keys.toml"
    if not path.exists():
        keyring.save(path, keyring.create(world.now))
    return KeyRingFile(path)


def router(folder: Path, world: World) -> Router:
    """The router that reads the tokens of the courier."""
    return Router(world.config, ring(folder, world), world.clock)


def items(store: Store, **chosen: Any) -> list[Item]:
    """What is in the outbox, the oldest first."""
    with store.reading() as connection:
        return outbox_selection.read(connection, outbox_selection.read_ids(connection, ItemFilter(**chosen)))


@dataclass(frozen=True)
class RunningCourier:
    """What a test asks of a running courier."""

    world: World

    def waiting(self, **chosen: Any) -> list[Item]:
        """What is in the outbox."""
        return items(self.world.store, **chosen)

    def wait_empty(self) -> None:
        """Wait until the outbox is empty. Raises `TimeoutError`."""
        wait_until(lambda: not self.waiting(), what="an empty outbox", seen=self.waiting)

    def wait_tried(self, attempts: int = 1, **chosen: Any) -> list[Item]:
        """Wait until each of these has failed this many times. Raises `TimeoutError`."""

        def tried() -> bool:
            found = self.waiting(**chosen)
            return bool(found) and all(one.attempts >= attempts and not one.taken_by for one in found)

        wait_until(tried, what=f"{attempts} attempts", seen=lambda: self.waiting(**chosen))
        return self.waiting(**chosen)


@contextmanager
def running_courier(folder: Path, world: World, passwords: Mapping[str, str] | None = None) -> Iterator[RunningCourier]:
    """Run a courier while the block runs; every hook has the lab's secret, or the lab's password if it has a user."""
    signed: dict[str, tuple[bytes, ...]] = {hook.name: (KEY,) for hook in world.config.hook if not hook.user}
    logins = {hook.name: LOGIN[1] for hook in world.config.hook if hook.user}
    secrets = Secrets(signed, logins, dict(passwords or {}))
    ready, made = threading.Event(), []

    async def work() -> None:
        signer = Signer(ring(folder, world), world.clock)
        courier = Courier(world.config, secrets, world.store, world.writer, signer, world.clock)
        made.append((asyncio.get_running_loop(), courier))
        ready.set()
        await courier.run()

    thread = threading.Thread(target=lambda: asyncio.run(work()), name="courier")
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        yield RunningCourier(world)
    finally:
        loop, courier = made[0]
        loop.call_soon_threadsafe(courier.stop)
        thread.join(PATIENCE)
        assert not thread.is_alive()
