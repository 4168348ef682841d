"""Forward limit: which forwards go one by one, and which become a digest because there are too many."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from retour_policy.config.courier import ForwardSection
from retour_policy.outbox.queue import FORWARD
from retour_policy.store import forward_window, outbox
from retour_policy.store.forward_window import ForwardWindow
from retour_policy.store.outbox import Item

MAX_DIGEST_MESSAGES = 100
MAX_DIGEST_OCTETS = 8_000_000  # under the 10 MB that mail servers take by default; one message always fits


def may_take(connection: Connection, now: int, limits: ForwardSection) -> bool:
    """Whether anything may be sent now; if not, it waits for the window's end."""
    window = forward_window.read(connection, FORWARD)
    if _is_over(window, now, limits) or window.count < limits.most:
        return True
    return outbox.has_due(connection, FORWARD, now, window.digest_to)


def take(
    connection: Connection, ids: Iterable[int], me: str, now: int, until: int, limits: ForwardSection
) -> list[list[Item]]:
    """Lease what may be sent now: single messages, or those of one digest together.

    If more wait than may go one by one in a window, all of them go into digests, and the window is used up.
    """
    window = forward_window.read(connection, FORWARD, lock=True)
    if _is_over(window, now, limits):
        window = _begin(connection, now, limits)
    singles = [number for number in ids if number > window.digest_to][: max(0, limits.most - window.count)]
    due = outbox.read_due_ids(connection, FORWARD, now, MAX_DIGEST_MESSAGES) if window.digest_to else []
    digest = [number for number in due if number <= window.digest_to]
    if digest:
        return _take_digest(connection, digest, me, now, until)
    items = outbox.take(connection, singles, me, now, until)
    counted = ForwardWindow(window.since, window.count + len(items), window.digest_to)
    forward_window.write(connection, FORWARD, counted)
    return [[item] for item in items]


def _take_digest(connection: Connection, ids: list[int], me: str, now: int, until: int) -> list[list[Item]]:
    sizes = outbox.read_sizes(connection, ids)
    room, fitting = MAX_DIGEST_OCTETS, list[int]()
    for number in sorted(ids):
        room -= sizes.get(number, 0)
        if room >= 0 or not fitting:
            fitting.append(number)
    items = outbox.take(connection, fitting, me, now, until)
    return [items] if items else []


def _is_over(window: ForwardWindow, now: int, limits: ForwardSection) -> bool:
    """Whether the next window begins."""
    return not 0 <= now - window.since < limits.per  # also if the clock was set back


def _begin(connection: Connection, now: int, limits: ForwardSection) -> ForwardWindow:
    """The window that begins now."""
    count, last = outbox.count_due(connection, FORWARD, now)
    window = ForwardWindow(now, limits.most, last) if count > limits.most else ForwardWindow(now, 0, 0)
    forward_window.write(connection, FORWARD, window)
    return window
