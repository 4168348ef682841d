"""Unsubscribes: who leaves a stream, by what way, and who comes back: found, recorded, undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection

from retour_policy.clock import Clock
from retour_policy.config.feedback import list_name
from retour_policy.config.model import Config
from retour_policy.core.decide import BULK, EVERYWHERE
from retour_policy.core.fold import Account
from retour_policy.core.hook_events import Event
from retour_policy.core.proof import Proof, claim_of
from retour_policy.ledger.accounts import lock, read
from retour_policy.ledger.ledger import Ledger
from retour_policy.messages.router import Router
from retour_policy.messages.unsubscribe_watch import UnsubscribeWatch
from retour_policy.store import facts, failures, subscriptions
from retour_policy.store.addresses import Address
from retour_policy.store.database import Store
from retour_policy.store.facts import NewFact
from retour_policy.store.subscriptions import SubscriptionRow
from retour_policy.store.writer import Writer
from retour_policy.tokens.keyring import KeyRingFile

Way = Literal["one-click", "page", "mail", "operator"]
"""How somebody unsubscribes: by their mail program's POST (RFC 8058), on our page, by mail, through the postmaster."""
Extent = Literal["stream", "everything"]
"""What they leave: one stream, or everything from this sender but transactional mail."""
State = Literal["subscribed", "unsubscribed", "everything"]
"""Whether they get the stream; `everything`: they left all that is not transactional."""


class UnknownSubscription(ValueError):
    """A genuine token whose subscription the store does not have: purged, or of another database."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """An address in a stream, as the person themselves may see it."""

    masked: str
    """The address with most of its local part hidden."""
    stream: str
    list_name: str
    """What people call the list."""
    state: State


@dataclass(frozen=True)
class UnsubscribeRecorder:
    """Finds, records and undoes within a transaction. Bound to a configuration."""

    config: Config
    ledger: Ledger
    watch: UnsubscribeWatch | None = None

    def find(self, connection: Connection, number: int) -> Subscription:
        """The subscription of that number. Changes nothing. Raises `UnknownSubscription`."""
        row = _row(connection, number)
        return self._shown(row, read(connection, [row.address])[row.address.id])

    def unsubscribe(self, connection: Connection, number: int, way: Way, extent: Extent, now: int) -> Subscription:
        """Write that somebody unsubscribes, unless they have already; raises `UnknownSubscription`."""
        row = _row(connection, number)
        self.leave(connection, row.address, row.stream, way, extent, now)
        return self._shown(row, lock(connection, row.address))

    def row(self, connection: Connection, number: int) -> SubscriptionRow:
        """The address and the stream of a subscription. Raises `UnknownSubscription`."""
        return _row(connection, number)

    def leave(
        self,
        connection: Connection,
        address: Address,
        stream: str,
        way: Way,
        extent: Extent,
        now: int,
        *,
        proof: Proof = "signed",
        note: str = "",
    ) -> bool:
        """Write that an address leaves a stream, or everything; False if it has left it already."""
        account = lock(connection, address)
        scope = BULK if extent == "everything" else stream
        if _has_left(connection, account, address, stream, scope):
            return False
        values = {"way": way, "scope": scope if scope == BULK else "", "note": note}
        detail = {name: value for name, value in values.items() if value}
        new = NewFact(now, "unsubscribe", address.id, stream=stream, proof=proof, detail=detail)
        self.ledger.write(connection, address, new, account)
        if self.watch and way in ("one-click", "page"):
            self.watch.see(connection, address, stream, now)
        return True

    def undo(self, connection: Connection, number: int, now: int) -> Subscription:
        """Take back that somebody left the stream, or everything; raises `UnknownSubscription`.

        What else suppressed them stays, and so does what suppressed them before.
        """
        row = _row(connection, number)
        self.take_back(connection, row.address, row.stream, "page", now)
        return self._shown(row, lock(connection, row.address))

    def take_back(self, connection: Connection, address: Address, stream: str, way: Way, now: int) -> bool:
        """Take back that an address left a stream, or everything; False if it had not."""
        account = lock(connection, address)
        done = sorted(fact for fact, _ in _unsubscriptions(connection, address, stream))
        if done:
            undone = NewFact(now, "undone", address.id, stream=stream, detail={"facts": done, "way": way})
            self.ledger.write(connection, address, undone)
            account = lock(connection, address)
        left = sorted(_left(account, stream))  # of facts that a purge carried forward, or of an imported list
        if left:
            detail: dict[str, Any] = {"scopes": left, "keeps_counts": True, "way": way}
            self.ledger.write(connection, address, NewFact(now, "lift", address.id, stream=stream, detail=detail))
        return bool(done or left)

    def _shown(self, row: SubscriptionRow, account: Account) -> Subscription:
        stream = self.config.stream_named(row.stream)
        name = list_name(stream.list_id if stream else None, row.stream)
        return Subscription(masked(row.text), row.stream, name, _state(account, row.stream))


class Unsubscribes:
    """What the services call: tokens read, and work done through the writer, in groups. Safe in any thread."""

    def __init__(
        self,
        config: Config,
        ring: KeyRingFile,
        store: Store,
        writer: Writer,
        ledger: Ledger,
        clock: Clock,
        log: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self._router = Router(config, ring, clock)
        self._recorder = UnsubscribeRecorder(config, ledger, UnsubscribeWatch.of(config, log))
        self._store = store
        self._writer = writer
        self._clock = clock

    def find(self, token: str) -> Subscription:
        """What a token stands for. Changes nothing; reads the store.

        Raises `TokenError` (`Expired`, `Forged`, `NotAToken` ...), `UnknownSubscription`, `StoreUnavailable`.
        """
        number = self._router.subscription(token)
        with self._store.reading() as connection:
            return self._recorder.find(connection, number)

    def unsubscribe(self, token: str, way: Way, extent: Extent = "stream") -> Future[Subscription]:
        """Unsubscribe whom a token stands for; done after the commit. Again changes nothing.

        Raises `TokenError` at once; the future raises `UnknownSubscription`, `StoreUnavailable`.
        """
        number, recorder, now = self._router.subscription(token), self._recorder, self._clock()
        return self._writer.submit(lambda connection: recorder.unsubscribe(connection, number, way, extent, now))

    def undo(self, token: str) -> Future[Subscription]:
        """Subscribe whom a token stands for again; done after the commit. Raises as `unsubscribe` does."""
        number, recorder, now = self._router.subscription(token), self._recorder, self._clock()
        return self._writer.submit(lambda connection: recorder.undo(connection, number, now))


def masked(address: str | None) -> str:
    """An address of which its owner recognises enough: its first letter and its domain. None: erased."""
    if address is None or "@" not in address:
        return "…"
    local, _, domain = address.rpartition("@")
    return f"{local.lstrip(chr(34))[:1]}…@{domain}"


def _row(connection: Connection, number: int) -> SubscriptionRow:
    row = subscriptions.find(connection, number)
    if row is None:
        raise UnknownSubscription(f"no subscription {number}")
    return row


def _left(account: Account, stream: str) -> set[str]:
    """The scopes in which an unsubscription suppresses an address in a stream."""
    some = account.suppressions.values()
    return {one.scope for one in some if one.cause == "unsubscribe" and one.applies(stream, transactional=False)}


def _state(account: Account, stream: str) -> State:
    left = _left(account, stream)
    if left & {BULK, EVERYWHERE}:
        return "everything"
    return "unsubscribed" if left else "subscribed"


def _has_left(connection: Connection, account: Account, address: Address, stream: str, scope: str) -> bool:
    """Whether an address has left that scope already: nothing more would follow."""
    if _left(account, stream) & {scope, BULK, EVERYWHERE}:
        return True
    held = account.suppressions.get(scope)
    if held is None or held.until is not None:
        return False  # it was lifted since, or they want to be off for longer
    return any(of == scope for _, of in _unsubscriptions(connection, address, stream))


def _unsubscriptions(connection: Connection, address: Address, stream: str) -> Iterator[tuple[int, str]]:
    """The facts by which an address left a stream, or everything, and which scope it left; not those undone."""
    told = facts.read_claims(connection, address.id)
    undone = failures.read_undone(connection, [address.id]) if told else set()
    for number, fact in told:
        scope = BULK if fact.detail.get("scope") == BULK else fact.stream or ""
        if claim_of(fact.kind, fact.reason) == "unsubscribe" and scope in (stream, BULK) and number not in undone:
            yield number, scope
