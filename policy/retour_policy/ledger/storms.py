"""Storms: counts sends and failures by side, opens and closes storms, and holds their failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from retour_policy.clock import HOUR, MAX_AHEAD_MS, is_ahead
from retour_policy.config.model import Config, StormSection
from retour_policy.core.decide import EVERYWHERE, Count, RuleSet
from retour_policy.core.fold import Account, Entry, StreamPolicy, signal_of
from retour_policy.core.hook_events import Data, Event
from retour_policy.core.storm import (
    ALL_SIDES,
    BUCKET_MS,
    CALM_WINDOW_MS,
    ERASED_SIDE,
    SILENCE_MS,
    Failure,
    Figures,
    Sides,
    blames_sender,
    breaks_everywhere,
    breaks_out,
    bucket,
    is_calm,
    repeating,
)
from retour_policy.ledger import history
from retour_policy.ledger.accounts import lock
from retour_policy.ledger.ledger import Ledger
from retour_policy.outbox.announcer import Announcer
from retour_policy.store import addresses, facts, failures, recent_failures, sends, storms
from retour_policy.store.addresses import Address
from retour_policy.store.batches import in_batches
from retour_policy.store.database import Store
from retour_policy.store.facts import NewFact
from retour_policy.store.recent_failures import RecentFailure
from retour_policy.store.storms import Counted, Latest, Storm
from retour_policy.tokens.token import id_time

MAX_FAILURES_TAKEN_BACK = 20  # in one transaction, so that none lasts over 100 ms
MAX_COUNTERS_REMOVED = 500  # in one transaction


def _tell_nobody(event: Event) -> None:
    pass


@dataclass(frozen=True)
class Storms:
    """Bound to the configuration in force."""

    limits: StormSection
    sides: Sides
    announcer: Announcer = field(default_factory=Announcer)
    log: Callable[[Event], None] = _tell_nobody
    """Told of each event too, before it is committed."""

    @classmethod
    def of(cls, config: Config) -> Storms:
        """As a configuration has it."""
        return cls(config.storm, Sides(config.sides), Announcer.of(config))

    def count_sent(self, connection: Connection, sent: Iterable[tuple[str, Iterable[str]]], now: int) -> None:
        """Count some sends, each a stream and its recipients, at the sides that they go to, and at all."""
        counts = Counter[tuple[str, str]]()
        for stream, recipients in sent:
            sides = list(map(self.sides.of, recipients))
            counts.update((stream, side) for side in sides)
            counts[stream, ALL_SIDES] += len(sides)
        rows = [Counted(stream, side, bucket(now), sent=count) for (stream, side), count in sorted(counts.items())]
        if rows:
            storms.count(connection, rows)

    def frame(self, now: int) -> tuple[int, int]:
        """What is counted at `now`: from which five minutes on, and before which time. The same for a while."""
        return bucket(now - self.limits.window), bucket(_soon(now) - 1) + BUCKET_MS

    def break_out(self, connection: Connection, stream: str, side: str, figures: Figures, now: int) -> int | None:
        """Open a storm, if these figures are one; its number."""
        return self._open(connection, stream, side, figures, now) if breaks_out(figures, self.limits) else None

    def break_out_everywhere(self, connection: Connection, stream: str, figures: Figures, now: int) -> int | None:
        """Open the storm over all sides, if so many of them fail at once that it is us, our resolver or our line."""
        sides, failing = storms.count_sides(connection, stream, *self.frame(now))
        if not breaks_everywhere(sides, failing, self.limits):
            return None
        return self._open(connection, stream, ALL_SIDES, figures, now)

    def blame(self, connection: Connection, stream: str, address: str, sent_at: int, new: NewFact) -> None:
        """Count a failure that blames the sender; a burst of them at one side is told, once a window.

        It opens no storm, for these failures are held against nobody.
        """
        side, now = self.sides.of(address), new.at
        at = bucket(sent_at if now - sent_at < self.limits.window else now)
        storms.count(connection, [Counted(stream, side, at, refused=1)])
        figures = storms.read_figures(connection, stream, side, bucket(now - self.limits.window), _soon(now))
        if figures.told or not blames_sender(figures, self.limits):
            return
        storms.count(connection, [Counted(stream, side, bucket(now), told=1)])
        self._tell(
            connection,
            "burst.sender",
            now,
            Data(
                stream=stream,
                side=side,
                sent=figures.sent,
                failed=figures.refused,
                status=new.status,
                reason=new.reason,
            ),
        )

    def recent(self, fact: int, new: NewFact, address: str | None) -> RecentFailure:
        """A failure that no storm holds, to be written down: one that opens soon may take it back."""
        side = ERASED_SIDE if address is None else self.sides.of(address)
        return RecentFailure(fact, new.stream or "", side, new.address_id or 0, new.at)

    def settled(
        self, connection: Connection, account: Account, address: Address, entry: Entry, stream_policy: StreamPolicy
    ) -> list[int] | None:
        """The held failures that count now that this address fails again; None if it does not fail on and on.

        Whether their storm is closed does not matter, and they do not lapse: see `repeating`.
        """
        rules = stream_policy.rules
        counted = account.state.counts.get(entry.stream if rules.scope == "stream" else EVERYWHERE, Count())
        if not account.state.held and not counted.failures:
            return None
        held = [number for number, _ in account.state.held]
        told = [history.entry(number, fact) for number, fact in facts.read_some(connection, held)]
        own = [one for one in told if rules.scope != "stream" or one.stream == entry.stream]
        signals = [(one, signal_of(one, stream_policy, ())) for one in own]
        failed = [Failure(one.class_, one.at, one.sent_at, fact.id) for fact, one in signals if one is not None]
        kept = () if counted.good else counted.failures  # good sends came after them
        failed += [Failure(one.class_, one.at, id_time(one.send) if one.send else one.at) for one in kept]
        new = signal_of(entry, stream_policy, ())
        if new is None or not failed:
            return None
        failed.append(Failure(new.class_, entry.at, entry.sent_at))
        good, pending = self._unfailed(connection, address, entry, min(one.sent_at for one in failed), rules)
        good = max(good, counted.good_at)
        classes = repeating(failed, good, pending, self.limits)
        if new.class_ not in classes:
            return None
        return [one.held for one in failed if one.held and one.class_ in classes and one.at >= good]

    def _unfailed(
        self, connection: Connection, address: Address, entry: Entry, since: int, rules: RuleSet
    ) -> tuple[int, int | None]:
        """When the latest good send was made (0: none since), and the first one after it that may become good."""
        judged = entry.at - rules.heal_after
        good = sends.read_unfailed(connection, address.id, since, judged, 1, but=entry.send)
        begins = max(since, judged)
        return (good[0][1] if good else 0), sends.find_first_unfailed(
            connection, address.id, begins, entry.at, but=entry.send
        )

    def tick(self, connection: Connection, ledger: Ledger, now: int) -> bool:
        """Look at the open storm that is due, if one is; whether one was, so that there may be more.

        Called every few seconds by one process or by many: takes back, a few addresses a call, what the failures
        of a storm had caused before it was known, and closes a storm after an hour of calm.
        """
        storm = storms.lock_due(connection, now)
        if storm is None:
            return False
        more = self._take_back(connection, ledger, storm, now)  # if the storm closed now, the rest would not be held
        due = now if more else self._close_if_calm(connection, storm, now)
        if due is not None:
            storms.write_due(connection, storm.id, due)
        return True

    def remove_old_counters(self, connection: Connection, now: int) -> bool:
        """Remove some of the counters and failures that are too old to matter; whether there may be more."""
        oldest = now - max(self.limits.window, CALM_WINDOW_MS) - HOUR
        counters = storms.remove_counters(connection, oldest, now, MAX_COUNTERS_REMOVED)
        recent = recent_failures.remove_old(connection, oldest, now, MAX_COUNTERS_REMOVED)
        return MAX_COUNTERS_REMOVED in (counters, recent)

    def bring_back(self, connection: Connection, now: int) -> int:
        """Set right the storms that a clock which was ahead has dated; how many. Those that it opened, end."""
        found = storms.read_ahead(connection, now)
        for storm in found:
            storms.bring_back(connection, storm, now)
            if storm.closed is None and is_ahead(storm.opened, now):
                self._close(connection, storm, now)
        return len(found)

    def _open(self, connection: Connection, stream: str, side: str, figures: Figures, now: int) -> int | None:
        is_new = storms.add(connection, stream, side, now, figures)
        number = storms.read_latest(connection, [(stream, side)], now).get((stream, side), Latest()).open
        if not is_new or number is None:  # another host was quicker, and queues the event
            return number
        data = Data(stream=stream, side=side, storm=number, sent=figures.sent, failed=figures.failures)
        self._tell(connection, "storm.opened", now, data)
        return number

    def _tell(self, connection: Connection, type_: str, now: int, data: Data) -> None:
        # no address has a negative number
        event = Event(type_, now, data, -data.storm if data.storm else None)
        self.announcer.tell(connection, event)
        self.log(event)

    def _take_back(self, connection: Connection, ledger: Ledger, storm: Storm, now: int) -> bool:
        """Hold some failures that were recorded before the storm was known; whether there may be more."""
        since = storm.opened - self.limits.window
        taken = recent_failures.take(connection, storm.stream, storm.side, since, _soon(now), MAX_FAILURES_TAKEN_BACK)
        by_address: dict[Address, list[int]] = {}
        for fact, address in taken:
            by_address.setdefault(address, []).append(fact)
        for address in sorted(by_address, key=lambda one: one.id):
            if not self._fails_on(connection, ledger, address, by_address[address]):
                hold(connection, ledger, address, by_address[address], storm, now)
        return len(taken) == MAX_FAILURES_TAKEN_BACK

    def _fails_on(self, connection: Connection, ledger: Ledger, address: Address, failed: Sequence[int]) -> bool:
        """Whether an address fails on and on, so that its failures count in whatever storm."""
        account = lock(connection, address)
        told = facts.read_some(connection, failed)
        if not told:
            return False
        entry = history.entry(*told[-1])
        return self.settled(connection, account, address, entry, ledger.policy.for_stream(entry.stream)) is not None

    def _close_if_calm(self, connection: Connection, storm: Storm, now: int) -> int | None:
        """Close the storm, or say when to look at it again: None if it is closed."""
        begins = now - CALM_WINDOW_MS if storm.calm_since is None else storm.calm_since
        figures = storms.read_figures(connection, storm.stream, storm.side, bucket(begins), _soon(now))
        if not is_calm(figures, self.limits):
            if storm.calm_since is not None:
                storms.write_calm_since(connection, storm.id, None)
            return now + BUCKET_MS
        if storm.calm_since is None:
            storms.write_calm_since(connection, storm.id, now)
            return now + BUCKET_MS
        if not self._is_over(connection, storm, now):
            return now + (BUCKET_MS if figures.sent else CALM_WINDOW_MS)
        self._close(connection, storm, now)
        return None

    def _close(self, connection: Connection, storm: Storm, now: int) -> None:
        self._tell(connection, "storm.closed", now, Data(stream=storm.stream, side=storm.side, storm=storm.id))
        storms.close(connection, storm.id, now)

    def _is_over(self, connection: Connection, storm: Storm, now: int) -> bool:
        """Whether mail has gone well for long enough; without any mail that takes longer, for nothing is known."""
        if storm.calm_since is None or now - storm.calm_since < self.limits.close_after:
            return False
        if now - storm.calm_since >= SILENCE_MS:
            return True
        ended = bucket(now - self.limits.close_after)
        return storms.read_figures(connection, storm.stream, storm.side, bucket(storm.calm_since), ended).sent > 0


def _soon(now: int) -> int:
    """The end of what is counted: later buckets are of a clock that was ahead for a while."""
    return now + MAX_AHEAD_MS + 1


def hold(connection: Connection, ledger: Ledger, address: Address, failed: list[int], storm: Storm, now: int) -> None:
    """Take back what some failures of an address caused: the storm holds them."""
    detail = {"facts": failed, "storm": storm.id}
    ledger.write(connection, address, NewFact(now, "held", address.id, stream=storm.stream, detail=detail))


def revive(
    connection: Connection, ledger: Ledger, address: Address, held: list[int], stream: str, now: int, but: int = 0
) -> None:
    """Let held failures of an address count after all. The send `but` fails at this moment: it was no good one."""
    detail = {"facts": held} | ({"but": but} if but else {})
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
