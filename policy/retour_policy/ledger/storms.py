"""Storms: counts sends and failures by side, opens and closes storms, and holds their failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from retour_policy.clock import HOUR, is_ahead
from retour_policy.config.model import Config, StormSection
from retour_policy.core.hook_events import Data, Event
from retour_policy.core.storm import CALM_WINDOW_MS, Figures, Sides, breaks_out, bucket, is_calm
from retour_policy.ledger.accounts import lock
from retour_policy.ledger.ledger import Ledger
from retour_policy.outbox.announcer import Announcer
from retour_policy.store import addresses, facts, failures, storms
from retour_policy.store.addresses import Address
from retour_policy.store.batches import in_batches
from retour_policy.store.database import Store
from retour_policy.store.facts import NewFact
from retour_policy.store.storms import Storm

MAX_FAILURES_TAKEN_BACK = 20  # in one transaction, so that none lasts over 100 ms
MAX_COUNTERS_REMOVED = 500  # in one transaction


@dataclass(frozen=True)
class Storms:
    """Bound to the configuration in force."""

    limits: StormSection
    sides: Sides
    announcer: Announcer = field(default_factory=Announcer)

    @classmethod
    def of(cls, config: Config) -> Storms:
        """As a configuration has it."""
        return cls(config.storm, Sides(config.sides), Announcer.of(config))

    def count_sent(self, connection: Connection, stream: str, recipients: Iterable[str], now: int) -> None:
        """Count a send to each side that it goes to."""
        for side, number in Counter(map(self.sides.of, recipients)).items():
            storms.count(connection, stream, side, bucket(now), sent=number)

    def failure(self, connection: Connection, stream: str, address: str, sent_at: int, now: int) -> int | None:
        """Count a hard failure that blames the recipient; the storm that holds it, if one does."""
        side, sent_at = self.sides.of(address), min(sent_at, now)  # the clock may have been ahead when it was sent
        if now - sent_at < self.limits.window:
            storms.count(connection, stream, side, bucket(sent_at), failed=1)
        open_now = storms.find_open(connection, stream, side)
        if open_now is not None:
            return open_now
        # failures held by the last storm must not open the next one
        since = max(now - self.limits.window, storms.find_last_closed(connection, stream, side))
        figures = storms.read_figures(connection, stream, side, bucket(since), now)
        if not breaks_out(figures, self.limits):
            return None
        return self._open(connection, stream, side, figures, now)

    def settled(self, connection: Connection, held: Iterable[tuple[int, int]], now: int) -> list[int]:
        """Those held failures that count now that the address fails again: their storm closed long enough ago."""
        closed = storms.read_closed_times(connection, {storm for _, storm in held}) if held else {}
        return [fact for fact, storm in held if self._counts_now(closed.get(storm), now)]

    def _counts_now(self, closed: int | None, now: int) -> bool:
        return closed is not None and self.limits.settle_after <= now - closed < self.limits.lapse_after

    def tick(self, connection: Connection, ledger: Ledger, now: int) -> bool:
        """Do part of the work for open storms; whether there is more to do at once.

        Called every few seconds by one process or by many: takes back, a few addresses a call, what the failures
        of a storm had caused before it was known, and closes a storm after an hour of calm.
        """
        more = False
        for storm in storms.lock_open(connection):
            if self._take_back(connection, ledger, storm, now):
                more = True  # if the storm closed now, the rest would not be held
            else:
                self._close_if_calm(connection, storm, now)
        return more

    def remove_old_counters(self, connection: Connection, now: int) -> bool:
        """Remove some counters that are too old to matter; whether there may be more."""
        oldest = now - max(self.limits.window, CALM_WINDOW_MS) - HOUR
        return storms.remove_counters(connection, oldest, now, MAX_COUNTERS_REMOVED) == MAX_COUNTERS_REMOVED

    def bring_back(self, connection: Connection, now: int) -> int:
        """Set right the storms that a clock which was ahead has dated; how many. Those that it opened, end."""
        found = storms.read_ahead(connection, now)
        for storm in found:
            storms.bring_back(connection, storm, now)
            if storm.closed is None and is_ahead(storm.opened, now):
                self._close(connection, storm, now)
        return len(found)

    def _open(self, connection: Connection, stream: str, side: str, figures: Figures, now: int) -> int | None:
        last_fact = facts.find_last_id(connection)
        first_fact = facts.find_first_id(connection, now - self.limits.window) or 1  # the oldest that it may take back
        is_new = storms.add(connection, stream, side, now, figures, last_fact, first_fact - 1)
        number = storms.find_open(connection, stream, side)
        if not is_new or number is None:  # another host was quicker, and queues the event
            return number
        data = Data(stream=stream, side=side, storm=number, sent=figures.sent, failed=figures.failed)
        self._tell(connection, "storm.opened", now, data)
        return number

    def _tell(self, connection: Connection, type_: str, now: int, data: Data) -> None:
        self.announcer.tell(connection, Event(type_, now, data, -(data.storm or 0)))  # no address has a negative number

    def _take_back(self, connection: Connection, ledger: Ledger, storm: Storm, now: int) -> bool:
        """Hold the failures that were recorded before the storm was known; whether some are left."""
        if storm.taken_to >= storm.last_fact:
            return False
        found = failures.read_before_storm(connection, storm, self.limits.window, MAX_FAILURES_TAKEN_BACK)
        by_address: dict[Address, list[int]] = {}
        for failure, is_held in found:
            # An erased address may have been at that side: better held without need than suppressed.
            if (failure.text is None or self.sides.of(failure.text) == storm.side) and not is_held:
                by_address.setdefault(failure.address, []).append(failure.fact)
        for address in sorted(by_address, key=lambda one: one.id):
            hold(connection, ledger, address, by_address[address], storm, now)
        storms.write_taken_to(connection, storm.id, found[-1][0].fact if found else storm.last_fact)
        return bool(found)

    def _close_if_calm(self, connection: Connection, storm: Storm, now: int) -> None:
        figures = storms.read_figures(connection, storm.stream, storm.side, bucket(now - CALM_WINDOW_MS), now)
        if not is_calm(figures, self.limits):
            if storm.calm_since is not None:
                storms.write_calm_since(connection, storm.id, None)
        elif storm.calm_since is None:
            storms.write_calm_since(connection, storm.id, now)
        elif now - storm.calm_since >= self.limits.close_after:
            self._close(connection, storm, now)

    def _close(self, connection: Connection, storm: Storm, now: int) -> None:
        self._tell(connection, "storm.closed", now, Data(stream=storm.stream, side=storm.side, storm=storm.id))
        storms.close(connection, storm.id, now)


def hold(connection: Connection, ledger: Ledger, address: Address, failed: list[int], storm: Storm, now: int) -> None:
    """Take back what some failures of an address caused: the storm holds them."""
    detail = {"facts": failed, "storm": storm.id}
    ledger.write(connection, address, NewFact(now, "held", address.id, stream=storm.stream, detail=detail))


def revive(connection: Connection, ledger: Ledger, address: Address, held: list[int], stream: str, now: int) -> None:
    """Let held failures of an address count after all."""
    detail = {"facts": held}
    ledger.write(connection, address, NewFact(now, "revived", address.id, stream=stream, detail=detail))


def settle(store: Store, ledger: Ledger, storm: Storm, now: int, *, count: bool) -> Iterator[int]:
    """Decide about all failures that a storm holds, in short transactions; yields how many addresses each changed."""
    with store.reading() as connection:
        touched = failures.read_addresses_of_storm(connection, storm)

    def work(connection: Connection, numbers: Sequence[int]) -> int:
        found = sorted(addresses.read(connection, numbers), key=lambda one: one.id)
        return sum(_settle_one(connection, ledger, address, storm, now, count=count) for address in found)

    for _, changed in in_batches(store, touched, 2, work):
        yield changed


def _settle_one(
    connection: Connection, ledger: Ledger, address: Address, storm: Storm, now: int, *, count: bool
) -> bool:
    held = [fact for fact, holder in lock(connection, address).state.held if holder == storm.id]
    if held and count:
        revive(connection, ledger, address, held, storm.stream, now)
    elif held:
        new = NewFact(now, "undone", address.id, stream=storm.stream, detail={"facts": held})
        ledger.write(connection, address, new)
    return bool(held)
