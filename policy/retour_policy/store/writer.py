"""Writer: one thread of a process that commits the work of many callers in groups, so that they share an fsync."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from retour_policy.errors import StoreUnavailable
from retour_policy.store.database import Store, is_deadlock, is_of_the_item

T = TypeVar("T")
Work = Callable[[Connection], T]
MAX_GROUP_ITEMS = 200  # per commit: at 200 the fsync's share of an item's cost is negligible
MAX_GROUP_MS = 80  # of work per commit: other processes wait meanwhile
CLOSE_TIMEOUT_MS = 10_000
MAX_QUEUED_ITEMS = 10_000  # before callers are turned away


@dataclass(slots=True)
class _Item(Generic[T]):
    work: Work[T] | None
    future: Future[T]
    sealed: bool = False
    """Its commit is near: from now on its caller cannot give up, but hears what came of it."""

    def seal(self) -> bool:
        """Seal it; False: its caller has given up, so it must not be committed."""
        if not self.sealed and not self.future.cancelled():
            self.sealed = self.future.set_running_or_notify_cancel()
        return self.sealed

    def let_go(self, future: Future[T]) -> None:
        """Its caller has given up: drop the work, which may hold a large report, while the item still waits."""
        if future.cancelled():
            self.work = None


class Writer:
    """Takes work from any thread. A `Future` is done only after the commit.

    An item that itself is at fault is undone alone, and its future raises that error. If the store
    fails, all futures of the group raise `StoreUnavailable`, and nothing of the group is in the store.
    Nor is an item whose caller gave up (cancelled its future) before its commit.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: queue.Queue[_Item[Any] | None] = queue.Queue(MAX_QUEUED_ITEMS)
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> Future[T]:
        """Queue `work`; it runs in the writer's thread, inside a transaction."""
        future: Future[T] = Future()
        with self._closing:  # so that nothing can be queued after the end marker
            if self._closed:
                future.set_exception(StoreUnavailable("the writer is closed"))
                return future
            item = _Item(work, future)
            try:
                self._queue.put_nowait(item)
                future.add_done_callback(item.let_go)
            except queue.Full:
                future.set_exception(StoreUnavailable(f"{MAX_QUEUED_ITEMS} items wait for the store"))
        return future

    def run(self, work: Work[T], timeout: int, undo: Callable[[Connection, T], None] | None = None) -> T:
        """Submit and wait, at most `timeout` milliseconds, and for a commit that has begun once more as long.

        Raises `StoreUnavailable`, or what the work raised. `undo` is done if the commit comes later still: the caller
        has heard of a failure by then.
        """
        future = self.submit(work)
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
            if group:
                self._commit(group)
            if last:
                return

    def _next_group(self) -> tuple[list[_Item[Any]], bool]:
        """What waits now, at most `MAX_GROUP_ITEMS`, and whether the writer must stop."""
        group: list[_Item[Any]] = []
        item = self._queue.get()
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

    def _commit(self, group: list[_Item[Any]]) -> None:
        """Commit the group; where one item makes the store fail, commit the others without it."""
        while group:
            try:
                done = self._attempt(group)
                group = group[done:]
            except _GivenUp:
                group = [item for item in group if not item.future.cancelled()]
            except _Culprit as culprit:
                if is_deadlock(culprit.error):  # two hosts whose groups hold the same addresses in another order
                    return self._commit_singly(group)
                self._fail([culprit.item], culprit.error)
                return self._commit_singly([item for item in group if item is not culprit.item])
            except BaseException as error:
                return self._fail(group, error)
        return None

    def _commit_singly(self, group: list[_Item[Any]]) -> None:
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

    def _attempt_twice(self, item: _Item[Any]) -> None:
        try:
            self._attempt([item])
        except _Culprit as culprit:
            if not is_deadlock(culprit.error):
                raise
            self._attempt([item])

    def _attempt(self, group: list[_Item[Any]]) -> int:
        """Commit as many of the group's items as can be done in `MAX_GROUP_MS`, one at least; how many that were."""
        done, count = list[tuple[_Item[Any], Callable[[], None]]](), 0
        with self._store.writing() as connection:
            end = time.monotonic() + MAX_GROUP_MS / 1000
            for count, item in enumerate(group, 1):  # noqa: B007
                outcome = _outcome(connection, item)
                done += [(item, outcome)] if outcome else []
                if time.monotonic() > end:
                    break
            if not all(item.seal() for item, _ in done):
                raise _GivenUp
        for _, outcome in done:
            outcome()
        return count

    def _fail(self, items: list[_Item[Any]], error: BaseException) -> None:
        failure = self._store.failure(error)
        for item in items:
            if item.seal():
                item.future.set_exception(failure)


class _GivenUp(Exception):
    """The caller of an item gave up after the item was done, and before the commit."""


class _Culprit(Exception):
    """The store failed while it did this item."""

    def __init__(self, item: _Item[Any], error: Exception) -> None:
        super().__init__(str(error))
        self.item = item
        self.error = error


def _outcome(connection: Connection, item: _Item[Any]) -> Callable[[], None] | None:
    """Do one item in a savepoint; the result for its caller after the commit. Raises `_Culprit`.

    None: its caller has given up, and nothing of it is done.
    """
    work = item.work
    if work is None:
        return None
    try:
        with connection.begin_nested() as savepoint:
            result = work(connection)
            if item.future.cancelled():
                savepoint.rollback()
                return None
    except Exception as error:
        if not is_of_the_item(error):
            raise _Culprit(item, error) from error
        fault = error
        return lambda: item.future.set_exception(fault)
    return lambda: item.future.set_result(result)
