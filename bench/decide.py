"""What deciding costs: recording against the bare rows, a full store against an empty one, the milter's check.

    decide.py [--rows 5000000]

Prints ratios of times taken in this one run, and the limit of each. Exit status 1 if one is over its limit.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, bindparam, insert, select

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from lab.reports import failed
from lab.world import SECRET, World
from retour_bounces import Report
from retour_policy.address import address_key
from retour_policy.clock import DAY
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store import schema
from retour_policy.store.sends import NewSend
from retour_policy.store.sqlite import sqlite_file
from retour_policy.store.suppressions import find_in_force

REPORTS = 1_000
ROUNDS = 9
FIRST = 2 * 10**9  # number of the first address that fills the store
CHUNK = 500_000  # rows per transaction
CACHE = 1_000_000  # kB of the store that the filling keeps in memory
FILLING = (
    """INSERT INTO send (id, stream, sender, recipients)
       SELECT id, 'news', 'a', 1 FROM address WHERE id >= :first AND id < :end""",
    "INSERT INTO send_recipient SELECT id, id FROM address WHERE id >= :first AND id < :end",
    """INSERT INTO fact (at, kind, address_id, send_id, action, type, policy_id, detail)
       SELECT :now - :day, 'bounce', id, id, 'failed', 'hard', 1, '{}'
       FROM address WHERE id >= :first AND id < :end""",
    """INSERT INTO suppression (address_key, scope, address_id, cause, since, until)
       SELECT key, '*', id, 'hard', :now, :now + :day
       FROM address WHERE id >= :first AND id < :end ORDER BY key""",
)
LIMITS = {"recording / its rows alone": 8.0, "full store / empty store": 1.3, "check / bare SELECT": 1.5}
numbers = itertools.count(1)


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def arrivals(world: World, connection: Connection, count: int) -> list[ReturnedMessage]:
    """Hard bounces of sends of their own, not recorded yet."""
    made = []
    for _ in range(count):
        number = next(numbers)
        to = f"new{number}@side{number % 30}.example"
        gone = world.outgoing.record(connection, NewSend("news", "app@example.com", (to,)), {}, track=True, watch=True)
        full = {"status": "5.2.2", "reason": "mailboxfull", "diagnostic": "full"}
        part = failed(to, "soft", original_recipient=to, **full)
        digest = number.to_bytes(16, "big")
        made.append(
            ReturnedMessage(
                world.now, Route("verp", None, gone.send), "b-x@b", "", b"", digest, Report("bounce", (part,))
            )
        )
    return made


def recording(world: World) -> float:
    """Seconds for recording 1,000 reports with all their deciding, in one transaction."""
    with world.store.writing() as connection:
        todo = arrivals(world, connection, REPORTS)
        world.wait("1m")
        return timed(lambda: [world.recorder.record(connection, one) for one in todo])


def rows_alone(world: World) -> float:
    """Seconds for inserting the same rows: fingerprint, fact and state."""
    with world.store.writing() as connection:
        todo = arrivals(world, connection, REPORTS)
        keys = [next(numbers) + 10**9 for _ in todo]
        connection.execute(insert(schema.address), [{"id": n, "key": n.to_bytes(16, "big"), "text": "x"} for n in keys])

        def work() -> None:
            for number, one in zip(keys, todo, strict=True):
                seen = {"send_id": one.route.send, "digest": one.fingerprint, "at": one.at}
                fact = {
                    "at": one.at,
                    "kind": "bounce",
                    "address_id": number,
                    "send_id": one.route.send,
                    "detail": {"a": "b"},
                }
                connection.execute(insert(schema.seen), seen)
                connection.execute(insert(schema.fact), fact)
                connection.execute(insert(schema.address_state), {"address_id": number, "state": {"last": one.at}})

        return timed(work)


def fill(world: World, rows: int) -> None:
    """Fill the store directly, without durability: this is not measured."""
    with contextlib.closing(sqlite3.connect(sqlite_file(world.url) or "", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA cache_size = -{CACHE}")
        connection.execute("PRAGMA synchronous = OFF")
        for start in range(0, rows, CHUNK):
            part = range(FIRST + start, FIRST + min(start + CHUNK, rows))
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO address (id, key, text) VALUES (?, ?, ?)", map(_address, part))
            for statement in FILLING:
                connection.execute(statement, {"first": part.start, "end": part.stop, "now": world.now, "day": DAY})
            connection.execute("COMMIT")


def _address(number: int) -> tuple[int, bytes, str]:
    text = f"full{number}@example.net"
    return number, address_key(SECRET, text), text


def checks(world: World, rows: int) -> tuple[float, float]:
    """Seconds for 2,000 checks of recipients as the milter does them, and for as many bare SELECTs by primary key."""
    keys = [_address(FIRST + n * 7919 % max(rows, 1))[1] for n in range(2_000)]
    table = schema.suppression
    bare = select(table).where(table.c.address_key == bindparam("key"), table.c.scope == bindparam("scope"))
    with world.store.reading() as connection:
        check = timed(lambda: [find_in_force(connection, key, "news", world.now, transactional=False) for key in keys])
        select_ = timed(lambda: [connection.execute(bare, {"key": key, "scope": "*"}).first() for key in keys])
    return check, select_


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    rows = parser.parse_args().rows
    config = {"stream": [{"name": "news"}]}
    with (
        tempfile.TemporaryDirectory() as folder,
        World(Path(folder, "empty"), config) as empty,
        World(Path(folder, "full"), config) as full,
    ):
        print(f"{timed(lambda: fill(full, rows)):,.0f} s for filling the store")
        recording(empty), recording(full)
        rounds = [(recording(empty), rows_alone(empty), recording(full)) for _ in range(ROUNDS)]
        checked = [checks(full, rows) for _ in range(ROUNDS)]
    found = {
        "recording / its rows alone": statistics.median(one / two for one, two, _ in rounds),
        "full store / empty store": statistics.median(three / one for one, _, three in rounds),
        "check / bare SELECT": statistics.median(one / two for one, two in checked),
    }
    print(f"{REPORTS / min(one for one, *_ in rounds):,.0f} reports a second recorded and decided")
    print(f"{2_000 / min(one for one, _ in checked):,.0f} checks a second with {rows:,} suppressions")
    for name, ratio in found.items():
        print(f"{name:<28} {ratio:5.2f}   at most {LIMITS[name]}")
    return int(any(ratio > LIMITS[name] for name, ratio in found.items()))


if __name__ == "__main__":
    sys.exit(main())
