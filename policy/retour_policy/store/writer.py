"""Writer: one thread of a process that commits the work of many callers in groups, so that they share an fsync."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from retour_policy.errors import StoreUnavailable
from retour_policy.store.database import Store, is_deadlock, is_of_the_item

I = TypeVar("I")  # noqa: E741
T = TypeVar("T")
Work = Callable[[Connection], T]
BulkWork = Callable[[Connection, Sequence[I]], Sequence[T]]
"""Does some items together, in their order, and returns what came of each. If it raises, all of it is undone."""
MAX_GROUP_ITEMS = 200  # per commit: at 200 the fsync's share of an item's cost is negligible
GATHER_MS = 2  # that a group waits for more after one of several items: then others are about to come
MAX_GROUP_MS = 80  # of work per commit: other processes wait meanwhile
MAX_BULK_MS = 15  # of work that is done together: until it ends, nobody looks at the clock
MAX_BULK_WEIGHT = 200
CLOSE_TIMEOUT_MS = 10_000
MAX_QUEUED_ITEMS = 10_000  # before callers are turned away


@dataclass(slots=True)
class _Item:
    work: BulkWork[Any, Any]
    what: Any
    weight: int
    future: Future[Any]
    sealed: bool = False
    """Its commit is near: from now on its caller cannot give up, but hears what came of it."""

    def seal(self) -> bool:
        """Seal it; False: its caller has given up, so it must not be committed."""
        if not self.sealed and not self.future.cancelled():
            self.sealed = self.future.set_running_or_notify_cancel()
        return self.sealed

    def let_go(self, future: Future[Any]) -> None:
        """Its caller has given up: drop the work, which may hold a large report, while the item still waits."""
        if future.cancelled():
            self.what = None


class Writer:
    """Takes work from any thread. A `Future` is done only after the commit.

    An item that itself is at fault is undone alone, and its future raises that error. If the store
    fails, all futures of the group raise `StoreUnavailable`, and nothing of the group is in the store.
    Nor is an item whose caller gave up (cancelled its future) before its commit.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: queue.Queue[_Item | None] = queue.Queue(MAX_QUEUED_ITEMS)
        self._pace = _Pace()
        # While a server far away is waited for, nobody waits for this process: only its own work counts.
        self._elapsed = time.thread_time if store.is_shared else time.monotonic
        self._gathers = False
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> Future[T]:
        """Queue `work`; it runs in the writer's thread, inside a transaction."""
        return self.submit_to(_each, work, MAX_BULK_WEIGHT)

    def submit_to(self, work: BulkWork[I, T], what: I, weight: int = 1) -> Future[T]:
        """Queue an item for `work`, which does it together with its neighbours in the queue that are for the same.

        `weight` is how many ordinary items it is worth. If they fail together, each is done by itself.
        """
        future: Future[T] = Future()
        with self._closing:  # so that nothing can be queued after the end marker
            if self._closed:
                future.set_exception(StoreUnavailable("the writer is closed"))
                return future
            item = _Item(work, what, weight, future)
            try:
                self._queue.put_nowait(item)
                future.add_done_callback(item.let_go)
            except queue.Full:
                future.set_exception(StoreUnavailable(f"{MAX_QUEUED_ITEMS} items wait for the store"))
        return future

    def run(self, work: Work[T], timeout: int, undo: Callable[[Connection, T], None] | None = None) -> T:
        """Submit and `wait_for` it."""
        return self.wait_for(self.submit(work), timeout, undo)

    def wait_for(self, future: Future[T], timeout: int, undo: Callable[[Connection, T], None] | None = None) -> T:
        """Wait for what was submitted, at most `timeout` milliseconds, and for a commit that has begun as long again.

        Raises `StoreUnavailable`, or what the work raised. `undo` is done if the commit comes later still: the caller
        has heard of a failure by then.
        """
        try:
            return future.result(timeout / 1000)
        except TimeoutError as error:
            # The caller hears of a failure, so the work must not be committed later.
            if future.cancel():
                raise StoreUnavailable(f"no commit within {timeout} ms") from error
        _, late = wait([future], timeout / 1000)
        if late:
            if undo is not None:
                future.add_done_callback(lambda done: self._undo(done, undo))
            raise StoreUnavailable(f"a commit takes longer than {timeout} ms")
        return future.result()

    def close(self, timeout: int = CLOSE_TIMEOUT_MS) -> bool:
        """Finish what is queued, and stop; whether that took at most `timeout` milliseconds.

        What is not finished was not confirmed to anybody.
        """
        with self._closing:
            self._closed = True
        try:
            self._queue.put(None, timeout=timeout / 1000)
        except queue.Full:
            return False
        self._thread.join(timeout / 1000)
        return not self._thread.is_alive()

    def _undo(self, done: Future[T], undo: Callable[[Connection, T], None]) -> None:
        if done.exception() is None:
            self.submit(lambda connection: undo(connection, done.result()))

    def _run(self) -> None:
        while True:
            group, last = self._next_group()
            self._gathers = len(group) > 1
            if group:
                self._commit(group)
            if last:
                return

    def _next_group(self) -> tuple[list[_Item], bool]:
        """What waits now, at most `MAX_GROUP_ITEMS`, and whether the writer must stop."""
        group: list[_Item] = []
        item = self._queue.get()
        if self._gathers and item is not None and not self._closed:
            time.sleep(GATHER_MS / 1000)
        while item is not None:
            if not item.future.cancelled():
                group.append(item)
            if len(group) == MAX_GROUP_ITEMS:
                return group, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Item]) -> None:
        """Commit the group; where one item makes the store fail, commit the others without it."""
        while group:
            try:
                done = self._attempt(group)
                group = group[done:]
            except _GivenUp:
                group = [item for item in group if not item.future.cancelled()]
            except _Culprit as culprit:
                # Of several nobody knows which; and in a deadlock two hosts' groups held the same addresses.
                if len(culprit.items) == 1 and not is_deadlock(culprit.error):
                    self._fail(culprit.items, culprit.error)
                    group = [item for item in group if item is not culprit.items[0]]
                return self._commit_singly(group)
            except BaseException as error:
                return self._fail(group, error)
        return None

    def _commit_singly(self, group: list[_Item]) -> None:
        """Commit each item by itself, until the store fails for a reason that no item caused."""
        for n, item in enumerate(group):
            try:
                self._attempt_twice(item)
            except _GivenUp:
                continue
            except _Culprit as culprit:
                self._fail([item], culprit.error)
            except BaseException as error:
                self._fail(group[n:], error)
                return

    def _attempt_twice(self, item: _Item) -> None:
        try:
            self._attempt([item])
        except _Culprit as culprit:
            if not is_deadlock(culprit.error):
                raise
            self._attempt([item])

    def _attempt(self, group: list[_Item]) -> int:
        """Commit as many of the group's items as can be done in `MAX_GROUP_MS`, one at least; how many that were."""
        done, count = list[_Outcome](), 0
        waiting = deque(_alike(group, self._pace.weight))
        with self._store.writing() as connection:
            end = time.monotonic() + MAX_GROUP_MS / 1000
            while waiting and not (count and time.monotonic() > end):
                items = waiting.popleft()
                began = self._elapsed()
                try:
                    done += _outcomes(connection, items)
                    count += len(items)
                    self._pace.learn(items, self._elapsed() - began)
                except _Undone:
                    waiting.extendleft([item] for item in reversed(items))
            if not all(one.item.seal() for one in done):
                raise _GivenUp
        for one in done:
            one.tell()
        return count

    def _fail(self, items: Sequence[_Item], error: BaseException) -> None:
        failure = self._store.failure(error)
        for item in items:
            if item.seal():
                item.future.set_exception(failure)


class _GivenUp(Exception):
    """The caller of an item gave up after the item was done, and before the commit."""


class _Culprit(Exception):
    """The store failed while it did these items."""

    def __init__(self, items: Sequence[_Item], error: Exception) -> None:
        super().__init__(str(error))
        self.items = items
        self.error = error


class _Undone(Exception):
    """Several items could not be done together, for the sake of one of them."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the caller of an item is told after the commit."""

    item: _Item
    tell: Callable[[], None]


@dataclass(slots=True)
class _Pace:
    """How much may be done together, so that it takes about `MAX_BULK_MS` on this machine at this time."""

    weight: int = 1

    def learn(self, items: Sequence[_Item], took_s: float) -> None:
        """These have taken so long."""
        if items[0].work is _each:
            return
        if took_s * 1000 > MAX_BULK_MS:
            self.weight = max(1, self.weight // 2)
        elif took_s * 1000 < MAX_BULK_MS / 2:
            self.weight = min(MAX_BULK_WEIGHT, self.weight * 2)


def _each(connection: Connection, works: Sequence[Work[Any]]) -> list[Any]:
    return [work(connection) for work in works]


def _alike(group: Sequence[_Item], max_weight: int) -> Iterator[list[_Item]]:
    """Neighbours in the group that are done together."""
    alike, weight = list[_Item](), 0
    for item in group:
        if alike and (item.work != alike[0].work or weight + item.weight > max_weight):
            yield alike
            alike, weight = [], 0
        alike.append(item)
        weight += item.weight
    if alike:
        yield alike


def _outcomes(connection: Connection, items: Sequence[_Item]) -> list[_Outcome]:
    """Do some items in a savepoint. Those whose callers have given up are left out.

    Raises `_Culprit`, and where one of several items is at fault, `_Undone`.
    """
    told = [(item, item.what) for item in items]  # before the look at who gave up: then what is wanted is dropped
    wanted = [(item, what) for item, what in told if not item.future.cancelled()]
    if not wanted:
        return []
    try:
        with connection.begin_nested() as savepoint:
            results = items[0].work(connection, [what for _, what in wanted])
            gave_up = any(item.future.cancelled() for item, _ in wanted)
            if gave_up:
                savepoint.rollback()
    except Exception as error:
        if not is_of_the_item(error):
            raise _Culprit([item for item, _ in wanted], error) from error
        if len(items) > 1:
            raise _Undone from error
        return [_Outcome(items[0], partial(items[0].future.set_exception, error))]
    if gave_up and len(items) > 1:
        raise _Undone
    pairs = [] if gave_up else zip(wanted, results, strict=True)
    return [_Outcome(item, partial(item.future.set_result, result)) for (item, _), result in pairs]
