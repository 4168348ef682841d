"""A key ring, a store and a book-keeper, as the tests of the policy room need them."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from lab import stores
from lab.reports import failed
from retour_bounces import Original, RecipientReport, Report
from retour_policy.address import address_key
from retour_policy.clock import DAY
from retour_policy.config.model import PolicySection, StormSection
from retour_policy.core.decide import Count
from retour_policy.core.fold import StreamPolicy
from retour_policy.core.presets import PRESETS
from retour_policy.core.state_json import from_dict
from retour_policy.core.storm import Sides
from retour_policy.core.suppression import Suppression
from retour_policy.ledger.ledger import Ledger
from retour_policy.ledger.policy_versions import Policy
from retour_policy.ledger.storms import Storms
from retour_policy.messages.matching import ProofRules
from retour_policy.messages.returned import Outcome, ReturnRecorder
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store import facts, migrate, schema, sends, suppressions
from retour_policy.store.database import Store, open_store
from retour_policy.store.facts import Fact, FactFilter
from retour_policy.store.sends import NewSend
from retour_policy.store.writer import Writer
from retour_policy.tokens import keyring
from retour_policy.tokens.keyring import Key, KeyRing
from retour_policy.tokens.token import first_id

NOW = 1_800_000_000_000  # 2027-01-15, in milliseconds
SECRET = bytes(range(32))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with this version's tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "retour.db"
    store = open_store(f"sqlite:///{path}", check=False)
    migrate.upgrade(store)
    store.close()
    return path


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> Path:
    """The file of a database of its own."""
    return Path(shutil.copy(empty_database, tmp_path / "retour.db"))


@pytest.fixture
def store(request: pytest.FixtureRequest, store_kind: str, tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    on_sqlite = store_kind == "sqlite"
    store = open_store(f"sqlite:///{request.getfixturevalue('database')}" if on_sqlite else stores.new_url(tmp_path))
    yield store
    store.close()


@pytest.fixture
def group_writer(store: Store) -> Iterator[Writer]:
    """A writer that is closed at the end."""
    writer = Writer(store)
    yield writer
    writer.close()


@pytest.fixture
def ring() -> KeyRing:
    """A ring whose secrets are known: key 3 signs, key 4 is next, key 2 is old."""
    states = {2: "old", 3: "signing", 4: "next"}
    keys = tuple(Key(number, state, "2026-12-31", bytes([number]) * 32) for number, state in states.items())
    return KeyRing(SECRET, keys)


@pytest.fixture
def ring_file(tmp_path: Path, ring: KeyRing) -> Path:
    """That ring in a file."""
    keyring.save(tmp_path / "keys.toml", ring)
    return tmp_path / "keys.toml"


def bounce(*parts: RecipientReport, **original: Any) -> Report:
    """A report that says `parts`, and returned a message with the header fields `original`."""
    return Report("bounce", parts, Original(**original))


@dataclass
class Book:
    """Records sends and what comes back, and shows the result."""

    store: Store
    policy: PolicySection = field(default_factory=lambda: PolicySection(preset="plain"))
    references: dict[str, int] = field(default_factory=dict)
    now: int = NOW
    proof_rules: ProofRules = field(default_factory=ProofRules)
    _drawn: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def recorder(self) -> ReturnRecorder:
        policy = Policy(StreamPolicy(self.policy.over(PRESETS[self.policy.preset])))
        storms = Storms(StormSection(), Sides({}))
        return ReturnRecorder(
            SECRET, Ledger(policy), storms, "postmaster@example.org", self.references.get, proof_rules=self.proof_rules
        )

    def send(self, *recipients: str, stream: str = "news", **values: Any) -> int:
        """A message that went out; its id."""
        new = NewSend(stream, "news@example.com", recipients, **values)
        with self.store.writing() as connection:
            return sends.record(connection, SECRET, new, lambda: first_id(self.now) + next(self._drawn))

    def arrival(self, route: Route, report: Report | None, fingerprint: bytes = b"", **values: Any) -> ReturnedMessage:
        """A report that came to us; each is a new one unless `fingerprint` is given."""
        self._serial = getattr(self, "_serial", 0) + 1
        return ReturnedMessage(
            at=values.pop("at", self.now),
            route=route,
            recipient="b-token@bounces.example.com",
            sender="",
            raw=values.pop("raw", b"raw"),
            fingerprint=fingerprint or self._serial.to_bytes(16, "big"),
            report=report,
            **values,
        )

    def record(self, arrival: ReturnedMessage) -> Outcome:
        """Record it in a transaction of its own."""
        with self.store.writing() as connection:
            return self.recorder.record(connection, arrival)

    def back(self, send: int | None, report: Report | None, named: str | None = None, **values: Any) -> Outcome:
        """A report comes back to the VERP address of `send`, or (None) to a static sender."""
        kind = "verp" if send is not None else "static"
        return self.record(self.arrival(Route(kind, "news", send, named), report, **values))

    def number(self, address: str) -> int | None:
        with self.store.reading() as connection:
            from retour_policy.store import addresses

            return addresses.find_number(connection, address_key(SECRET, address))

    def counts(self, address: str, scope: str = "*") -> tuple[int, int, int]:
        """Hard, soft and auto-replies of an address."""
        number = self.number(address)
        if number is None:
            return 0, 0, 0
        with self.store.reading() as connection:
            state = connection.scalar(
                select(schema.address_state.c.state).where(schema.address_state.c.address_id == number)
            )
        totals = from_dict(state or {}).counts.get(scope, Count()).totals
        return totals.get("hard", 0), totals.get("soft", 0), totals.get("autoreply", 0)

    def suppressed(self, address: str, stream: str = "news", at: int | None = None) -> Suppression | None:
        with self.store.reading() as connection:
            key = address_key(SECRET, address)
            return suppressions.find_in_force(connection, key, stream, at or self.now, transactional=False)

    def facts(self, **wanted: Any) -> list[Fact]:
        with self.store.reading() as connection:
            return facts.read(connection, FactFilter(**wanted))

    def forwarded(self) -> list[bytes]:
        """What waits to be forwarded to postmaster."""
        with self.store.reading() as connection:
            return [bytes(row.body) for row in connection.exec_driver_sql("SELECT body FROM outbox ORDER BY id")]

    def days(self, days: float) -> None:
        """Time goes by."""
        self.now += int(days * DAY)


@pytest.fixture
def book(store: Store) -> Book:
    """A book-keeper with the default policy: hard 3, soft 5, auto-reply 10."""
    return Book(store)


@pytest.fixture
def make_part() -> Callable[..., RecipientReport]:
    """What a report says about one recipient."""
    return failed


@pytest.fixture
def make_bounce() -> Callable[..., Report]:
    """A report that something failed."""
    return bounce


@pytest.fixture
def hard() -> Callable[..., Report]:
    """A report that these recipients failed for good."""
    return lambda *names, **original: bounce(*(failed(name) for name in names), **original)
