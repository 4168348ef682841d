"""Storms: counts sends and failures by side, opens and closes storms, and holds what they did to addresses."""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, delete, func, or_, select, update

from retour_policy.clock import DAY, HOUR
from retour_policy.config.model import Config, StormSection
from retour_policy.core.hook_events import Data, Event
from retour_policy.core.storm import CALM_WINDOW, Figures, Sides, breaks_out, bucket, is_calm
from retour_policy.ledger.accounts import lock
from retour_policy.ledger.ledger import Ledger
from retour_policy.outbox.announcer import Announcer
from retour_policy.store import schema
from retour_policy.store.addresses import Address
from retour_policy.store.batches import in_batches
from retour_policy.store.database import Store
from retour_policy.store.facts import NewFact
from retour_policy.store.upsert import adding, ignoring
from retour_policy.tokens.token import first_id

CHUNK = 20  # addresses a transaction, so that none lasts over 100 ms
ROWS = 500  # counters a transaction
_counter, _storm, _fact, _address = schema.storm_counter, schema.storm, schema.fact, schema.address


@dataclass(frozen=True, slots=True)
class Storm:
    """One storm."""

    id: int
    stream: str
    side: str
    opened: int
    closed: int | None
    sent: int
    failed: int
    """The figures when it opened."""


@dataclass(frozen=True)
class Storms:
    """Bound to the configuration in force."""

    limits: StormSection
    sides: Sides
    announcer: Announcer = dataclasses.field(default_factory=Announcer)

    @classmethod
    def of(cls, config: Config) -> Storms:
        """As a configuration has it."""
        return cls(config.storm, Sides(config.sides), Announcer.of(config))

    def count_sent(self, connection: Connection, stream: str, recipients: Iterable[str], now: int) -> None:
        """Count a send to each side that it goes to."""
        for side, number in Counter(map(self.sides.of, recipients)).items():
            self._add(connection, stream, side, bucket(now), sent=number)

    def failure(self, connection: Connection, stream: str, address: str, sent_at: int, now: int) -> int | None:
        """Count a hard failure that blames the recipient; the storm that holds it, if one does."""
        side = self.sides.of(address)
        if now - sent_at < self.limits.window:
            self._add(connection, stream, side, bucket(sent_at), failed=1)
        open_now = self.open_at(connection, stream, side)
        if open_now is not None:
            return open_now
        since = max(now - self.limits.window, self._last_closed(connection, stream, side))
        figures = self.figures(connection, stream, side, since)
        if not breaks_out(figures, self.limits):
            return None
        return self._open(connection, stream, side, figures, now)

    def settled(self, connection: Connection, held: Iterable[tuple[int, int]], now: int) -> list[int]:
        """Those held failures that count now that the address fails again: their storm closed long enough ago."""
        closed = closed_times(connection, {storm for _, storm in held}) if held else {}
        return [fact for fact, storm in held if self._counts_now(closed.get(storm), now)]

    def _counts_now(self, closed: int | None, now: int) -> bool:
        return closed is not None and self.limits.settle_after <= now - closed < self.limits.lapse_after

    def open_at(self, connection: Connection, stream: str, side: str) -> int | None:
        """The storm that is open there."""
        here = and_(_storm.c.stream == stream, _storm.c.side == side, _storm.c.closed.is_(None))
        return connection.scalar(select(_storm.c.id).where(here).limit(1))

    def open_in(self, connection: Connection, stream: str) -> int | None:
        """A storm that is open in that stream at any side, for who was forgotten: he may have been there."""
        here = and_(_storm.c.stream == stream, _storm.c.closed.is_(None))
        return connection.scalar(select(_storm.c.id).where(here).order_by(_storm.c.id.desc()).limit(1))

    def _last_closed(self, connection: Connection, stream: str, side: str) -> int:
        """When the last storm there closed: what it held must not open the next one."""
        here = and_(_storm.c.stream == stream, _storm.c.side == side)
        return connection.scalar(select(func.max(_storm.c.closed)).where(here)) or 0

    def figures(self, connection: Connection, stream: str, side: str, since: int) -> Figures:
        """What was counted of the sends made since `since`."""
        query = select(func.sum(_counter.c.sent), func.sum(_counter.c.failed)).where(
            _counter.c.stream == stream, _counter.c.side == side, _counter.c.bucket >= bucket(since)
        )
        sent, failed = connection.execute(query).one()
        return Figures(int(sent or 0), int(failed or 0))

    def tick(self, connection: Connection, ledger: Ledger, now: int) -> bool:
        """Do a little of what open storms need; whether there is more to do at once.

        Called every few seconds by one process or by many: takes back, a few addresses a call, what the failures
        of a storm had caused before it was known, and closes a storm after an hour of calm.
        """
        more = False
        for row in connection.execute(select(_storm).where(_storm.c.closed.is_(None)).with_for_update()).all():
            if self._take_back(connection, ledger, row, now):
                more = True  # a storm that closed now would leave the rest as it is
            else:
                self._close_if_calm(connection, row, now)
        return more

    def forget(self, connection: Connection, now: int) -> bool:
        """Remove some of the counters that are too old to be looked at; whether there may be more."""
        key = list(_counter.primary_key)
        oldest = now - max(self.limits.window, CALM_WINDOW) - HOUR
        rows = connection.execute(select(*key).where(_counter.c.bucket < oldest).limit(ROWS)).all()
        if rows:
            here = and_(*(column == bindparam(f"the_{column.name}") for column in key))
            old = [{f"the_{name}": value for name, value in row._mapping.items()} for row in rows]
            connection.execute(delete(_counter).where(here), old)
        return len(rows) == ROWS

    def _open(self, connection: Connection, stream: str, side: str, figures: Figures, now: int) -> int | None:
        last_fact = connection.scalar(select(func.max(_fact.c.id))) or 0
        row = {
            "stream": stream,
            "side": side,
            "opened": now,
            "sent": figures.sent,
            "failed": figures.failed,
            "last_fact": last_fact,
            "taken_to": self._first_fact(connection, now) - 1,
        }
        is_new = connection.execute(ignoring(connection, _storm), row).rowcount == 1
        number = self.open_at(connection, stream, side)
        if not is_new or number is None:  # another host was quicker, and tells of it
            return number
        data = Data(stream=stream, side=side, storm=number, sent=figures.sent, failed=figures.failed)
        self._tell(connection, "storm.opened", now, data)
        return number

    def _tell(self, connection: Connection, type_: str, now: int, data: Data) -> None:
        self.announcer.tell(connection, Event(type_, now, data, -(data.storm or 0)))  # no address has that number

    def _first_fact(self, connection: Connection, now: int) -> int:
        """The lowest id of a fact that a storm which opens now may take back, found by the index on times."""
        youngest = func.min(_fact.c.id + 0)  # a bare min(id) would tempt SQLite to walk the table by its ids
        return connection.scalar(select(youngest).where(_fact.c.at >= now - self.limits.window)) or 1

    def _take_back(self, connection: Connection, ledger: Ledger, row: Row[tuple[int, ...]], now: int) -> bool:
        """Hold the failures that came before the storm was known; whether some are left."""
        if row.taken_to >= row.last_fact:
            return False
        rows = connection.execute(self._earlier(row).limit(CHUNK)).all()
        found: dict[Address, list[int]] = {}
        for fact, number, key, text, detail in rows:
            # Who was forgotten may have been there: better held by a storm of others than suppressed by one's own.
            if (text is None or self.sides.of(text) == row.side) and not detail.get("storm"):
                found.setdefault(Address(number, bytes(key)), []).append(fact)
        for address in sorted(found, key=lambda one: one.id):
            hold(connection, ledger, address, found[address], row.id, row.stream, now)
        taken_to = rows[-1][0] if rows else row.last_fact
        connection.execute(update(_storm).where(_storm.c.id == row.id).values(taken_to=taken_to))
        return bool(rows)

    def _earlier(self, row: Row[tuple[int, ...]]) -> Select[Any]:
        since = row.opened - self.limits.window
        return (
            select(_fact.c.id, _address.c.id, _address.c.key, _address.c.text, _fact.c.detail)
            .join(_address, _address.c.id == _fact.c.address_id)
            .where(_fact.c.id > row.taken_to, _fact.c.id <= row.last_fact, _fact.c.at >= since)
            .where(_fact.c.stream == row.stream, _fact.c.send_id >= first_id(since))
            .where(_fact.c.action == "failed", _fact.c.type == "hard", _fact.c.blame == "recipient")
            .order_by(_fact.c.id)
        )

    def _close_if_calm(self, connection: Connection, row: Row[tuple[int, ...]], now: int) -> None:
        calm = is_calm(self.figures(connection, row.stream, row.side, now - CALM_WINDOW), self.limits)
        values: dict[str, int | None] = {}
        if not calm:
            values = {"calm_since": None} if row.calm_since is not None else {}
        elif row.calm_since is None:
            values = {"calm_since": now}
        elif now - row.calm_since >= self.limits.close_after:
            values = {"closed": now}
            self._tell(connection, "storm.closed", now, Data(stream=row.stream, side=row.side, storm=row.id))
        if values:
            connection.execute(update(_storm).where(_storm.c.id == row.id).values(**values))

    def _add(self, connection: Connection, stream: str, side: str, at: int, *, sent: int = 0, failed: int = 0) -> None:
        row = {"stream": stream, "side": side, "bucket": at, "writer": writer_name(), "sent": sent, "failed": failed}
        connection.execute(adding(connection, _counter, ("sent", "failed")), row)


def hold(
    connection: Connection, ledger: Ledger, address: Address, facts: list[int], storm: int, stream: str, now: int
) -> None:
    """Take back what some failures of an address have caused."""
    detail = {"facts": facts, "storm": storm}
    ledger.write(connection, address, NewFact(now, "held", address.id, stream=stream, detail=detail))


def revive(connection: Connection, ledger: Ledger, address: Address, facts: list[int], stream: str, now: int) -> None:
    """Let held failures of an address count after all."""
    detail = {"facts": facts}
    ledger.write(connection, address, NewFact(now, "revived", address.id, stream=stream, detail=detail))


def settle(store: Store, ledger: Ledger, storm: int, now: int, *, count: bool) -> Iterator[int]:
    """Decide about all that a storm holds, in short transactions; yields how many addresses each changed."""
    with store.reading() as connection:
        row = connection.execute(select(_storm).where(_storm.c.id == storm)).one()
        numbers = sorted(set(connection.scalars(_touched(row))))

    def work(connection: Connection, some: Sequence[int]) -> int:
        found = connection.execute(select(_address.c.id, _address.c.key).where(_address.c.id.in_(some)))
        held = sorted((Address(number, bytes(key)) for number, key in found), key=lambda one: one.id)
        return sum(_settle_one(connection, ledger, one, row, now, count=count) for one in held)

    for _, changed in in_batches(store, numbers, 2, work):
        yield changed


def _touched(row: Row[Any]) -> Select[Any]:
    """The addresses of which the storm may hold something: by the facts of its time, not by all states there are."""
    marks = or_(_fact.c.kind == "held", and_(_fact.c.kind == "bounce", _fact.c.action == "failed"))
    after = [_fact.c.at <= row.closed + DAY] if row.closed else []  # clocks of two hosts may differ
    return select(_fact.c.address_id).where(
        _fact.c.at >= row.opened, *after, marks, _fact.c.stream == row.stream, _fact.c.address_id.is_not(None)
    )


def _settle_one(
    connection: Connection, ledger: Ledger, address: Address, row: Row[Any], now: int, *, count: bool
) -> bool:
    facts = [fact for fact, of in lock(connection, address).state.held if of == row.id]
    if facts and count:
        revive(connection, ledger, address, facts, row.stream, now)
    elif facts:
        new = NewFact(now, "undone", address.id, stream=row.stream, detail={"facts": facts})
        ledger.write(connection, address, new)
    return bool(facts)


def listed(connection: Connection, *, only_open: bool = False) -> list[Storm]:
    """All storms, the oldest first."""
    query = select(_storm).order_by(_storm.c.id)
    if only_open:
        query = query.where(_storm.c.closed.is_(None))
    names = [field.name for field in dataclasses.fields(Storm)]
    return [Storm(**{name: getattr(row, name) for name in names}) for row in connection.execute(query)]


def closed_times(connection: Connection, numbers: Iterable[int]) -> dict[int, int | None]:
    """When storms closed, by their ids; None for those that are open."""
    return dict(connection.execute(select(_storm.c.id, _storm.c.closed).where(_storm.c.id.in_(sorted(numbers)))).all())


@cache
def writer_name() -> str:
    """This process, among all that count: each has rows of its own, so that none is hot."""
    return f"{socket.gethostname()[:20]}-{os.getpid()}-{secrets.token_hex(3)}"
