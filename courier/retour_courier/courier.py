"""Courier: one channel for each hook and relay and one for forwards, run together until told to stop."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from retour_courier import sweep
from retour_courier.async_store import AsyncStore
from retour_courier.channel import Channel
from retour_courier.command import CommandCarrier
from retour_courier.forward import ForwardCarrier
from retour_courier.leases import Leases
from retour_courier.outcomes import Outcomes
from retour_courier.relay import Relay
from retour_courier.resend import ResendCarrier
from retour_courier.webhook import WebhookCarrier
from retour_policy.clock import Clock, ClockWatch
from retour_policy.config.courier import HookSection
from retour_policy.config.model import Config
from retour_policy.config.secrets import Secrets
from retour_policy.messages.signer import Signer
from retour_policy.outbox.queue import FORWARD
from retour_policy.outbox.spool import SWEEP_PARTS
from retour_policy.store.database import Store
from retour_policy.store.writer import Writer

SWEEP_INTERVAL_S = 60.0
MAX_THREADS = 64  # at most; created when needed

log = structlog.get_logger()


class Courier:
    """One courier of any number, on any number of hosts: each item is leased to one of them."""

    def __init__(
        self, config: Config, secrets: Secrets, store: Store, writer: Writer, signer: Signer, clock: Clock
    ) -> None:
        self._config = config
        self._secrets = secrets
        self._signer = signer
        self._store = store
        self._leases = Leases(config, AsyncStore(store, writer), clock)
        self._outcomes = Outcomes(self._leases)
        self._channels: list[Channel] = []
        self._stopping = False

    async def run(self) -> None:
        """Work until `stop`; items in progress are finished."""
        # Names are resolved in threads, and a name server can hang: some threads must be left for the store.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(MAX_THREADS, "courier"))
        loops = (self._leases.keep_renewing, self._outcomes.keep_committing, self._keep_sweeping)
        helpers = [asyncio.create_task(loop()) for loop in loops]
        try:
            while not self._stopping:
                await self._serve()
            await self._outcomes.flush(self._config.courier.drain / 1000)
        finally:
            for helper in helpers:
                helper.cancel()
                with suppress(asyncio.CancelledError):
                    await helper

    def stop(self) -> None:
        """Lease no more items."""
        self._stopping = True
        self._end_channels()

    def adopt(self, config: Config, secrets: Secrets) -> None:
        """Finish items in progress, and go on with another configuration."""
        self._config, self._secrets = config, secrets
        self._end_channels()

    async def _serve(self) -> None:
        """Run the channels of one configuration until it changes."""
        self._leases.config = self._config
        relays = {name: Relay(one, self._secrets.relays.get(name)) for name, one in self._config.relay.items()}
        self._channels = list(self._make_channels(relays))
        async with asyncio.TaskGroup() as group:
            for channel in self._channels:
                group.create_task(channel.run())
        for relay in relays.values():
            await relay.close()

    def _make_channels(self, relays: Mapping[str, Relay]) -> Iterator[Channel]:
        config, outcomes = self._config, self._outcomes
        for hook in config.hook:
            yield Channel(hook.channel, self._hook_carrier(hook), outcomes)
        for name, relay in relays.items():
            carrier = ResendCarrier(config, self._store, self._signer, self._leases.clock, relay)
            yield Channel(f"relay:{name}", carrier, outcomes)
        yield Channel(FORWARD, ForwardCarrier(relays[config.forward.relay], self._signer.forward), outcomes)

    def _hook_carrier(self, hook: HookSection) -> WebhookCarrier | CommandCarrier:
        if hook.webhook:
            return WebhookCarrier(hook, self._secrets, self._leases.clock)
        return CommandCarrier(hook)

    def _end_channels(self) -> None:
        for channel in self._channels:
            channel.stop()

    async def _keep_sweeping(self) -> None:
        """Sweep from time to time; at the start, and when the clock was set, also look for what it dated wrong."""
        watch, first = ClockWatch(self._leases.clock), random.randrange(SWEEP_PARTS)
        for turn in itertools.count(first):
            try:
                jump = watch.jump()
                if jump:
                    log.error("clock jumped", by_ms=jump)
                if jump or turn == first:
                    await sweep.bring_back(self._leases)
                await sweep.sweep(self._leases, [channel.name for channel in self._channels], turn % SWEEP_PARTS)
            except Exception as error:  # the next sweep is soon
                log.error("sweep failed", error=str(error) or repr(error))
            await asyncio.sleep(SWEEP_INTERVAL_S)
