"""The writer: groups share a commit, what is acknowledged is on the disk, one bad item harms nobody else."""

from __future__ import annotations

import gc
import sqlite3
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event, insert
from sqlalchemy.exc import IntegrityError, OperationalError

from lab.wait import PATIENCE
from retour_policy.errors import StoreUnavailable
from retour_policy.store import schema, sqlite, writer
from retour_policy.store.database import Store, open_store
from retour_policy.store.writer import Writer


@pytest.fixture
def commits(store: Store) -> list[int]:
    """Grows by one with each commit of the writer's engine."""
    found: list[int] = []
    event.listen(store._writer, "commit", lambda _: found.append(1))
    return found


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine does not change what shares a commit."""
    monkeypatch.setattr(writer, "MAX_GROUP_MS", 60_000)


def add(key: bytes) -> Callable[[Connection], bytes]:
    """Work that writes one row."""

    def work(connection: Connection) -> bytes:
        connection.execute(insert(schema.address).values(key=key))
        return key

    return work


def keys(path: Path) -> set[bytes]:
    with closing(sqlite3.connect(path)) as connection:
        return {key for (key,) in connection.execute("SELECT key FROM address")}


class Gate:
    """Work that holds the writer until it is opened, so that a group gathers behind it."""

    def __init__(self, group_writer: Writer) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self.done = group_writer.submit(self._work)
        assert self.entered.wait(PATIENCE)

    def _work(self, connection: Connection) -> None:
        self.entered.set()
        assert self.open.wait(PATIENCE)


def test_items_that_wait_share_one_commit(group_writer: Writer, commits: list[int], database: Path) -> None:
    """A hundred items behind a busy writer are written by one commit, in order."""
    gate = Gate(group_writer)
    futures = [group_writer.submit(add(b"%03d" % n)) for n in range(100)]
    gate.open.set()
    assert [future.result(PATIENCE) for future in futures] == [b"%03d" % n for n in range(100)]
    assert len(commits) == 2  # the gate's, and one for all
    assert len(keys(database)) == 100


def test_a_long_group_is_committed_in_pieces(
    group_writer: Writer, commits: list[int], database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes wait for the store meanwhile: a burst of reports is not to hold up the mail that goes out."""
    monkeypatch.setattr(writer, "MAX_GROUP_MS", -1)
    gate = Gate(group_writer)
    futures = [group_writer.submit(add(b"%d" % n)) for n in range(5)]
    gate.open.set()
    assert [future.result(PATIENCE) for future in futures] == [b"%d" % n for n in range(5)]
    assert len(commits) == 1 + 5 and len(keys(database)) == 5


def test_a_group_has_a_bound(group_writer: Writer, commits: list[int]) -> None:
    """Five hundred items take three commits of at most two hundred each."""
    gate = Gate(group_writer)
    futures = [group_writer.submit(add(b"%03d" % n)) for n in range(500)]
    gate.open.set()
    for future in futures:
        future.result(PATIENCE)
    assert len(commits) == 1 + 3


def test_nothing_is_acknowledged_before_its_commit(group_writer: Writer, store: Store) -> None:
    """While the commit is in progress no future of its group is done, though the work is."""
    seen: list[bool] = []
    gate = Gate(group_writer)
    futures = [group_writer.submit(add(b"%d" % n)) for n in range(5)]
    event.listen(store._writer, "commit", lambda _: seen.extend(future.done() for future in futures))
    gate.open.set()
    for future in futures:
        future.result(PATIENCE)
    assert seen[-5:] == [False] * 5


def test_a_bad_item_fails_alone(group_writer: Writer, database: Path) -> None:
    """An item that raises or breaks a rule is undone as a whole; its neighbours in the group are written."""

    def half_done(connection: Connection) -> None:
        add(b"half")(connection)
        raise ValueError("never mind")

    gate = Gate(group_writer)
    good = [group_writer.submit(add(b"good %d" % n)) for n in range(3)]
    bad = [group_writer.submit(half_done), group_writer.submit(add(b"good 0"))]
    unbindable = group_writer.submit(
        lambda c: c.execute(insert(schema.fact).values(at=1, kind="x", detail={"a": object()}))
    )
    after = group_writer.submit(add(b"after"))
    gate.open.set()
    assert [future.result(PATIENCE) for future in (*good, after)] == [b"good 0", b"good 1", b"good 2", b"after"]
    for future, error in zip(bad, (ValueError, IntegrityError), strict=True):
        with pytest.raises(error):
            future.result(PATIENCE)
    with pytest.raises(Exception, match="not JSON serializable") as caught:
        unbindable.result(PATIENCE)
    assert not isinstance(caught.value, StoreUnavailable)
    assert keys(database) == {b"good 0", b"good 1", b"good 2", b"after"}


def poison(connection: Connection) -> None:
    """Work that makes the store fail, as a damaged page would."""
    connection.execute(insert(schema.address).values(key=b"poison"))
    raise OperationalError("INSERT", {}, Exception("database disk image is malformed"))


class Deadlock(Exception):
    """As psycopg tells it."""

    sqlstate = "40P01"


@pytest.mark.parametrize("times", [1, 2])
def test_a_deadlock_is_tried_again_by_itself(group_writer: Writer, database: Path, times: int) -> None:
    """Another host's group held the same addresses in another order: no caller notices."""
    left = [times]

    def unlucky(connection: Connection) -> bytes:
        connection.execute(insert(schema.address).values(key=b"unlucky"))
        if left[0]:
            left[0] -= 1
            raise OperationalError("UPDATE", {}, Deadlock())
        return b"unlucky"

    gate = Gate(group_writer)
    futures = [group_writer.submit(work) for work in (add(b"a"), unlucky, add(b"b"))]
    gate.open.set()
    assert [future.result(PATIENCE) for future in futures] == [b"a", b"unlucky", b"b"]
    assert keys(database) == {b"a", b"b", b"unlucky"}


def test_a_deadlock_without_end_is_an_error(group_writer: Writer, database: Path) -> None:
    """Tried again twice, then `StoreUnavailable`; the others are written."""

    def always(connection: Connection) -> None:
        raise OperationalError("UPDATE", {}, Deadlock())

    gate = Gate(group_writer)
    futures = [group_writer.submit(add(b"a")), group_writer.submit(always), group_writer.submit(add(b"b"))]
    gate.open.set()
    with pytest.raises(StoreUnavailable):
        futures[1].result(PATIENCE)  # type: ignore[attr-defined]
    assert [futures[0].result(PATIENCE), futures[2].result(PATIENCE)] == [b"a", b"b"]
    assert keys(database) == {b"a", b"b"}


@pytest.mark.parametrize("poisons", [1, 2, 5])
def test_items_that_make_the_store_fail_fail_alone(group_writer: Writer, database: Path, poisons: int) -> None:
    """However many of a group do it: they get `StoreUnavailable`, all others are written."""
    gate = Gate(group_writer)
    works = [add(b"%d" % n) for n in range(10)]
    for place in range(poisons):
        works.insert(2 * place + 1, poison)  # type: ignore[arg-type]
    futures = [group_writer.submit(work) for work in works]
    gate.open.set()
    for work, future in zip(works, futures, strict=True):
        if work is poison:
            with pytest.raises(StoreUnavailable, match="malformed"):
                future.result(PATIENCE)
        else:
            future.result(PATIENCE)
    assert keys(database) == {b"%d" % n for n in range(10)}


def test_a_store_that_is_down_fails_the_group_and_comes_back(
    group_writer: Writer, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locked by others: all futures raise `StoreUnavailable`, at once and once; later items are written."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 50)
    slow = Writer(open_store(f"sqlite:///{database}"))
    attempt, attempts = Writer._attempt, list[int]()

    def counted(self: Writer, group: list[Any]) -> int:
        attempts.append(len(group))
        return attempt(self, group)

    monkeypatch.setattr(Writer, "_attempt", counted)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        futures = [slow.submit(add(b"%d" % n)) for n in range(50)]
        for future in futures:
            with pytest.raises(StoreUnavailable, match="locked"):
                future.result(PATIENCE)
    assert sum(attempts) == 50 and len(attempts) < 25  # what comes while one waits shares the next wait
    assert keys(database) == set()
    assert slow.run(add(b"later"), 10_000) == b"later"
    slow.close()


def test_a_caller_who_gives_up_is_not_surprised_later(group_writer: Writer, database: Path) -> None:
    """What was not begun when its caller's time was over is never done: the mail was deferred, not sent."""
    gate = Gate(group_writer)
    with pytest.raises(StoreUnavailable, match="no commit within 20 ms"):
        group_writer.run(add(b"late"), 20)
    gate.open.set()
    group_writer.run(add(b"next"), 10_000)
    assert keys(database) == {b"next"}


class Slow:
    """Work that writes a row and then takes its time."""

    def __init__(self, key: bytes) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self._key = key

    def __call__(self, connection: Connection) -> bytes:
        add(self._key)(connection)
        self.entered.set()
        assert self.open.wait(PATIENCE)
        return self._key


def test_who_gives_up_while_their_work_is_done_is_not_surprised_either(group_writer: Writer, database: Path) -> None:
    """Its neighbours are committed and it is not: the client heard 451, and would send the message again."""
    slow = Slow(b"late")
    before, gave_up, after = group_writer.submit(add(b"a")), group_writer.submit(slow), group_writer.submit(add(b"b"))
    assert slow.entered.wait(PATIENCE)
    assert gave_up.cancel()
    slow.open.set()
    assert [before.result(PATIENCE), after.result(PATIENCE)] == [b"a", b"b"]
    assert keys(database) == {b"a", b"b"}


def test_nor_who_gives_up_while_a_neighbour_is_slow(group_writer: Writer, database: Path) -> None:
    """Done, but not committed yet: the group is done again without it."""
    gate, slow = Gate(group_writer), Slow(b"slow")
    gave_up, neighbour = group_writer.submit(add(b"late")), group_writer.submit(slow)
    gate.open.set()
    assert slow.entered.wait(PATIENCE)
    assert gave_up.cancel()
    slow.open.set()
    assert neighbour.result(PATIENCE) == b"slow"
    assert keys(database) == {b"slow"}


def test_a_commit_that_has_begun_is_waited_for(group_writer: Writer, store: Store, database: Path) -> None:
    """It cannot be stopped: whoever waits hears what came of it, though their time is over."""
    begun, heard, go_on = threading.Event(), list[bytes](), threading.Event()

    def slow_commit(_: object) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)

    event.listen(store._writer, "commit", slow_commit)
    future = group_writer.submit(add(b"key"))
    assert begun.wait(PATIENCE) and not future.cancel()
    caller = threading.Thread(target=lambda: heard.append(future.result(PATIENCE)))
    caller.start()
    go_on.set()
    caller.join(PATIENCE)
    assert heard == [b"key"] and keys(database) == {b"key"}


def test_run_waits_for_a_commit_once_more_as_long(group_writer: Writer, store: Store) -> None:
    """And then says that it does not know; a disk that hangs holds nobody for ever."""
    go_on = threading.Event()
    event.listen(store._writer, "commit", lambda _: go_on.wait(PATIENCE))
    with pytest.raises(StoreUnavailable, match="a commit takes longer than 1000 ms"):
        group_writer.run(add(b"key"), 1_000)
    go_on.set()


def test_what_was_committed_too_late_after_all_is_undone(group_writer: Writer, store: Store, database: Path) -> None:
    """Its caller has said 451: a message that never went out must not stand there as one that did."""
    go_on, seen = threading.Event(), threading.Event()

    def undo(connection: Connection, key: bytes) -> None:
        connection.execute(delete(schema.address).where(schema.address.c.key == key))
        seen.set()

    event.listen(store._writer, "commit", lambda _: go_on.wait(PATIENCE))
    with pytest.raises(StoreUnavailable, match="a commit takes longer"):
        group_writer.run(add(b"key"), 1_000, undo)
    go_on.set()
    assert seen.wait(PATIENCE)
    group_writer.run(add(b"next"), 10_000)
    assert keys(database) == {b"next"}


def test_what_was_given_up_is_not_held_in_memory(group_writer: Writer) -> None:
    """While the store stands still each try of a large report would add a megabyte."""

    class Large:
        def __call__(self, connection: Connection) -> None:
            """Never done."""

    gate = Gate(group_writer)
    work = Large()
    gone = weakref.ref(work)
    with pytest.raises(StoreUnavailable):
        group_writer.run(work, 20)
    del work
    gc.collect()
    assert gone() is None
    gate.open.set()


def test_too_many_waiting_items_are_turned_away(group_writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue has a bound; a caller beyond it is told at once to try again later."""
    monkeypatch.setattr(writer, "MAX_QUEUED_ITEMS", 3)
    small = Writer(group_writer._store)
    gate = Gate(small)
    futures = [small.submit(add(b"%d" % n)) for n in range(4)]
    with pytest.raises(StoreUnavailable, match="3 items wait"):
        futures[3].result(0)
    gate.open.set()
    for future in futures[:3]:
        future.result(PATIENCE)
    small.close()


def test_closing_finishes_what_is_queued(store: Store, database: Path) -> None:
    """All that was taken before the end is written; what comes after it is refused, and no caller waits without end."""
    group_writer = Writer(store)
    gate = Gate(group_writer)
    futures: list[Any] = []

    def submit_until_refused() -> None:
        while not (futures and futures[-1].done() and futures[-1].exception()):
            futures.append(group_writer.submit(add(b"%d" % len(futures))))
            gate.open.set()

    submitter = threading.Thread(target=submit_until_refused)
    submitter.start()
    gate.open.wait(PATIENCE)
    assert group_writer.close()
    submitter.join()
    futures.append(group_writer.submit(add(b"late")))
    written = set()
    for future in futures:
        assert future.done()
        if future.exception() is None:
            written.add(future.result())
        else:
            assert isinstance(future.exception(), StoreUnavailable)
    assert keys(database) == written and b"late" not in written
    group_writer.close()  # again: nothing happens


def test_closing_does_not_wait_for_ever(store: Store) -> None:
    """A service that is told to stop while another process sits on the store ends all the same."""
    stuck = Writer(store)
    gate = Gate(stuck)
    waiting = stuck.submit(add(b"x"))
    assert not stuck.close(20)
    assert not waiting.done()
    gate.open.set()
    assert waiting.result(PATIENCE) == b"x"


class Together:
    """Work for several items at once: writes a row for each, and keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []

    def __call__(self, connection: Connection, items: Sequence[bytes]) -> list[bytes]:
        self.calls.append(list(items))
        connection.execute(insert(schema.address), [{"key": key} for key in items])
        if b"bad" in items:
            raise ValueError("never mind")
        if b"poison" in items:
            raise OperationalError("INSERT", {}, Exception("database disk image is malformed"))
        return [key.upper() for key in items]


def gathered(group_writer: Writer, work: Together, items: Sequence[bytes], **weights: int) -> list[Future[bytes]]:
    """What was submitted while the writer was busy, so that it is one group."""
    group_writer._pace.weight = writer.MAX_BULK_WEIGHT
    gate = Gate(group_writer)
    futures = [group_writer.submit_to(work, key, weights.get(key.decode(), 1)) for key in items]
    gate.open.set()
    return futures


def test_like_items_are_done_together(group_writer: Writer, commits: list[int], database: Path) -> None:
    """By one call, in their order; each caller gets what came of their own."""
    work = Together()
    futures = gathered(group_writer, work, [b"a", b"b", b"c"])
    assert [future.result(PATIENCE) for future in futures] == [b"A", b"B", b"C"]
    assert work.calls == [[b"a", b"b", b"c"]] and keys(database) == {b"a", b"b", b"c"}
    assert len(commits) == 1 + 1


def test_what_comes_between_keeps_its_place(group_writer: Writer) -> None:
    """Work of another kind is done after what was queued before it, and before what was queued later."""
    work, seen = Together(), list[int]()
    gate = Gate(group_writer)
    first = group_writer.submit_to(work, b"a")
    group_writer.submit(lambda connection: seen.append(len(work.calls)))
    last = group_writer.submit_to(work, b"b")
    gate.open.set()
    assert [first.result(PATIENCE), last.result(PATIENCE)] == [b"A", b"B"]
    assert seen == [1] and work.calls == [[b"a"], [b"b"]]


def test_a_bad_item_of_many_fails_alone(group_writer: Writer, database: Path) -> None:
    """What was done together is undone, and each is done by itself: its neighbours are written once."""
    work = Together()
    one, bad, other = gathered(group_writer, work, [b"a", b"bad", b"b"])
    assert [one.result(PATIENCE), other.result(PATIENCE)] == [b"A", b"B"]
    with pytest.raises(ValueError, match="never mind"):
        bad.result(PATIENCE)
    assert work.calls == [[b"a", b"bad", b"b"], [b"a"], [b"bad"], [b"b"]]
    assert keys(database) == {b"a", b"b"}


def test_an_item_of_many_that_makes_the_store_fail_fails_alone(group_writer: Writer, database: Path) -> None:
    """Nobody knows which it was, so each is committed by itself."""
    one, bad, other = gathered(group_writer, Together(), [b"a", b"poison", b"b"])
    assert [one.result(PATIENCE), other.result(PATIENCE)] == [b"A", b"B"]
    with pytest.raises(StoreUnavailable, match="malformed"):
        bad.result(PATIENCE)
    assert keys(database) == {b"a", b"b"}


def test_who_gives_up_among_many_is_not_surprised_later(group_writer: Writer, database: Path) -> None:
    """Not if they gave up before it was begun, nor while it was done: neighbours are committed, they are not."""
    late: list[Future[bytes]] = []

    def work(connection: Connection, items: Sequence[bytes]) -> Sequence[bytes]:
        if b"late" in items:
            late[0].cancel()
        return Together()(connection, items)

    gate = Gate(group_writer)
    futures = [group_writer.submit_to(work, key) for key in (b"a", b"gone", b"late", b"b")]
    late.append(futures[2])
    group_writer._pace.weight = writer.MAX_BULK_WEIGHT
    futures[1].cancel()
    gate.open.set()
    assert [futures[0].result(PATIENCE), futures[3].result(PATIENCE)] == [b"A", b"B"]
    assert keys(database) == {b"a", b"b"}


def test_what_is_heavy_is_not_done_with_others(group_writer: Writer) -> None:
    """A message with many recipients takes its time: what is done together has a bound, and no look at the clock."""
    work = Together()
    for future in gathered(group_writer, work, [b"a", b"b", b"heavy", b"c"], heavy=writer.MAX_BULK_WEIGHT):
        future.result(PATIENCE)
    assert work.calls == [[b"a", b"b"], [b"heavy"], [b"c"]]


def test_what_takes_long_together_is_done_in_smaller_parts(
    group_writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow machine does less at once, so that no transaction lasts long; and more again when it is quick."""
    monkeypatch.setattr(writer, "MAX_BULK_MS", -1)
    for future in gathered(group_writer, Together(), [b"a", b"b"]):
        future.result(PATIENCE)
    assert group_writer._pace.weight == writer.MAX_BULK_WEIGHT // 2
    monkeypatch.setattr(writer, "MAX_BULK_MS", 60_000)
    group_writer.submit_to(Together(), b"c").result(PATIENCE)
    assert group_writer._pace.weight == writer.MAX_BULK_WEIGHT


def test_after_several_items_the_next_ones_are_gathered(group_writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where many come at a time, a group waits a moment for more; one client alone never waits."""
    pauses: list[float] = []
    monkeypatch.setattr(writer.time, "sleep", pauses.append)
    for future in gathered(group_writer, Together(), [b"a", b"b"]):
        future.result(PATIENCE)
    assert not pauses
    group_writer.submit_to(Together(), b"c").result(PATIENCE)
    assert pauses == [writer.GATHER_MS / 1000]
    group_writer.submit_to(Together(), b"d").result(PATIENCE)
    assert len(pauses) == 1
