"""Pace: which forwards go one by one, and which become a digest because there are too many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, select

from retour_policy.config.courier import ForwardSection
from retour_policy.outbox import queue as outbox
from retour_policy.outbox.queue import FORWARD, Item
from retour_policy.store import schema
from retour_policy.store.upsert import replacing

DIGEST_MOST = 100  # messages in one digest
DIGEST_OCTETS = 8_000_000  # of one digest, under the 10 MB that mail servers take by default; one message always fits
_table, _outbox = schema.pace, schema.outbox


@dataclass(frozen=True, slots=True)
class Window:
    """What was sent one by one since its beginning."""

    since: int
    count: int
    digest_to: int

    def over(self, now: int, limits: ForwardSection) -> bool:
        """Whether the next one begins."""
        return not 0 <= now - self.since < limits.per  # also where the clock was set back


def may_take(connection: Connection, now: int, limits: ForwardSection) -> bool:
    """Whether anything may go now; if not, it waits for the window's end."""
    window = _window(connection)
    if window.over(now, limits) or window.count < limits.most:
        return True
    waiting = and_(_outbox.c.failed == 0, _outbox.c.channel == FORWARD, _outbox.c.due <= now)
    return connection.scalar(select(_outbox.c.id).where(waiting, _outbox.c.id <= window.digest_to).limit(1)) is not None


def take(
    connection: Connection, ids: Iterable[int], me: str, now: int, until: int, limits: ForwardSection
) -> list[list[Item]]:
    """Lease what may go now: single messages, or those of one digest together.

    Where more wait than one window lets pass one by one, all of them go into digests, and that window is used up.
    """
    window = _window(connection, lock=True)
    if window.over(now, limits):
        window = _next(connection, now, limits)
    singles = [number for number in ids if number > window.digest_to][: max(0, limits.most - window.count)]
    digest = outbox.due_ids(connection, FORWARD, now, DIGEST_MOST) if window.digest_to else []
    digest = [number for number in digest if number <= window.digest_to]
    if digest:
        return _digest(connection, digest, me, now, until)
    items = outbox.take(connection, singles, me, now, until)
    _put(connection, Window(window.since, window.count + len(items), window.digest_to))
    return [[item] for item in items]


def _digest(connection: Connection, ids: list[int], me: str, now: int, until: int) -> list[list[Item]]:
    sizes = select(_outbox.c.id, func.length(_outbox.c.body)).where(_outbox.c.id.in_(ids))
    size = dict(connection.execute(sizes).all())
    room, wanted = DIGEST_OCTETS, list[int]()
    for number in sorted(ids):
        room -= size.get(number, 0)
        if room >= 0 or not wanted:
            wanted.append(number)
    items = outbox.take(connection, wanted, me, now, until)
    return [items] if items else []


def _next(connection: Connection, now: int, limits: ForwardSection) -> Window:
    """The window that begins now."""
    waiting = and_(_outbox.c.failed == 0, _outbox.c.channel == FORWARD, _outbox.c.due <= now)
    count, last = connection.execute(select(func.count(), func.max(_outbox.c.id)).where(waiting)).one()
    window = Window(now, limits.most, last) if count > limits.most else Window(now, 0, 0)
    _put(connection, window)
    return window


def _window(connection: Connection, *, lock: bool = False) -> Window:
    query = select(_table.c.since, _table.c.count, _table.c.digest_to).where(_table.c.name == FORWARD)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return Window(*row) if row else Window(0, 0, 0)


def _put(connection: Connection, window: Window) -> None:
    values = {"since": window.since, "count": window.count, "digest_to": window.digest_to}
    connection.execute(replacing(connection, _table, tuple(values)), {"name": FORWARD} | values)
