"""Backend: what all requests share: whom a token stands for, how they leave and return, whether the store is well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import structlog

from retour_policy.clock import Clock
from retour_policy.config.feedback import WebSection
from retour_policy.config.model import Config
from retour_policy.core.hook_events import Event
from retour_policy.errors import StoreRefused, StoreUnavailable
from retour_policy.ledger.ledger import Ledger
from retour_policy.messages.unsubscribes import Extent, Subscription, UnknownSubscription, Unsubscribes, Way
from retour_policy.store.database import Store
from retour_policy.store.writer import Writer
from retour_policy.tokens.keyring import KeyRingFile
from retour_policy.tokens.token import Expired, KeyToCome, TokenError

__all__ = ["Backend", "Extent", "Health", "Refused", "Subscription", "Way"]

STORE_TIMEOUT_S = 20.0  # that a request waits for the store before it hears 503; proxies wait a minute
HEALTH_TIMEOUT_S = 5.0
HEALTH_AGE_S = 1.0  # for which an answer is good: asking often costs no commits

T = TypeVar("T")
log = structlog.get_logger()


class Refused(Exception):
    """A token that does nothing. `reason` is for the log only."""

    def __init__(self, kind: Literal["unknown", "gone", "later"], reason: str) -> None:
        """`unknown`: it never was a token; `gone`: it is too old; `later`: try again."""
        super().__init__(kind)
        self.kind = kind
        self.reason = reason

    @property
    def blames_client(self) -> bool:
        """Whether anybody who guesses gets this."""
        return self.kind == "unknown"


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the store can be read, and whether a commit goes through."""

    store: bool
    writer: bool


@dataclass(frozen=True, slots=True)
class _Settings:
    web: WebSection
    logo: bytes | None
    unsubscribes: Unsubscribes


class Backend:
    """What all requests of the service share. Its coroutines run in one event loop."""

    def __init__(
        self, config: Config, logo: bytes | None, ring: KeyRingFile, store: Store, writer: Writer, clock: Clock
    ) -> None:
        self._ring = ring
        self._store = store
        self._writer = writer
        self._clock = clock
        self._health: asyncio.Task[Health] | None = None
        self.adopt(config, logo)

    def adopt(self, config: Config, logo: bytes | None) -> None:
        """Use `config`, which has a [web], and show `logo` from now on.

        Waits for the store, so it must not run in the event loop; safe in any thread.
        """
        if config.web is None:
            raise ValueError("no [web] in the configuration")
        self._ring.refresh()
        ledger = Ledger.of(config, self._writer, self._clock)
        unsubscribes = Unsubscribes(config, self._ring, self._store, self._writer, ledger, self._clock, _log_burst)
        self._settings = _Settings(config.web, logo, unsubscribes)

    @property
    def web(self) -> WebSection:
        """The configuration in force."""
        return self._settings.web

    @property
    def logo(self) -> bytes | None:
        """The operator's picture: PNG or SVG."""
        return self._settings.logo

    async def find(self, token: str) -> Subscription:
        """Whom a token stands for. Changes nothing. Raises `Refused`."""
        unsubscribes = self._settings.unsubscribes
        return await self._answer(lambda: asyncio.to_thread(unsubscribes.find, token))

    async def unsubscribe(self, token: str, way: Way, extent: Extent = "stream") -> Subscription:
        """Unsubscribe; returns after the commit. Raises `Refused`."""
        unsubscribes = self._settings.unsubscribes
        found = await self._answer(lambda: asyncio.wrap_future(unsubscribes.unsubscribe(token, way, extent)))
        log.info("unsubscribed", stream=found.stream, recipient=found.masked, way=way, extent=extent)
        return found

    async def undo(self, token: str) -> Subscription:
        """Subscribe again; returns after the commit. Raises `Refused`."""
        unsubscribes = self._settings.unsubscribes
        found = await self._answer(lambda: asyncio.wrap_future(unsubscribes.undo(token)))
        log.info("subscribed again", stream=found.stream, recipient=found.masked)
        return found

    async def health(self) -> Health:
        """Whether store and writer answer. All who ask within a second share one answer."""
        if self._health is None:
            self._health = asyncio.create_task(self._examine())
            self._health.add_done_callback(self._forget_health_soon)
        return await asyncio.shield(self._health)

    async def _answer(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` comes to within the time; a caller who gave up is not done later."""
        try:
            return await asyncio.wait_for(ask(), STORE_TIMEOUT_S)
        except KeyToCome as error:
            log.warning("link deferred", reason=error.reason)
            raise Refused("later", error.reason) from None
        except Expired as error:
            raise Refused("gone", error.reason) from None
        except TokenError as error:
            raise Refused("unknown", error.reason) from None
        except UnknownSubscription as error:
            raise Refused("gone", str(error)) from None
        except (StoreUnavailable, TimeoutError) as error:
            log.error("store is down", error=str(error) or f"no answer within {STORE_TIMEOUT_S:g} s")
            raise Refused("later", "the store is down") from None

    async def _examine(self) -> Health:
        store, writer = await asyncio.gather(
            self._succeeds(lambda: asyncio.to_thread(self._store.revision)),
            self._succeeds(lambda: asyncio.wrap_future(self._writer.submit(lambda connection: None))),
        )
        return Health(store, writer)

    async def _succeeds(self, ask: Callable[[], Awaitable[object]]) -> bool:
        try:
            await asyncio.wait_for(ask(), HEALTH_TIMEOUT_S)
        except (StoreUnavailable, StoreRefused, TimeoutError) as error:
            log.error("unhealthy", error=str(error) or f"no answer within {HEALTH_TIMEOUT_S:g} s")
            return False
        return True

    def _forget_health_soon(self, task: asyncio.Task[Health]) -> None:
        asyncio.get_running_loop().call_later(HEALTH_AGE_S, self._forget_health)

    def _forget_health(self) -> None:
        self._health = None


def _log_burst(event: Event) -> None:
    """Log that so many unsubscribe at one side that it looks like a gateway."""
    log.warning("burst unsubscribes", **event.data.to_dict())
