"""World: sends, reports and the passing of time, on a real store, without a mail server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from lab import stores
from lab.reports import failed
from retour_bounces import Report
from retour_policy.address import address_key
from retour_policy.clock import DAY, HOUR, MINUTE
from retour_policy.config.model import Config
from retour_policy.core.suppression import Suppression
from retour_policy.erasure.erase import erase
from retour_policy.ledger.ledger import Ledger
from retour_policy.ledger.storms import Storms, settle
from retour_policy.maintenance.rebuild import stored
from retour_policy.maintenance.undo import Window, failures, undo
from retour_policy.messages.matching import ProofRules
from retour_policy.messages.outgoing import SendRecorder
from retour_policy.messages.returned import ReturnRecorder
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store import migrate, storms, suppressions
from retour_policy.store.addresses import Address, ensure, find_number
from retour_policy.store.database import open_store
from retour_policy.store.facts import NewFact
from retour_policy.store.sends import NewSend
from retour_policy.store.storms import Storm
from retour_policy.store.writer import Writer
from retour_policy.tokens.token import draw_id

SECRET = bytes(32)
T = TypeVar("T")
UNITS = {"m": MINUTE, "h": HOUR, "d": DAY}


class World:
    """A store with a clock that stands still until it is set forward. Begins on 2026-01-01 at noon UTC.

    With `url` it shares the store there, as another host does.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any] | None = None,
        *,
        begins: str = "2026-01-01T12:00",
        url: str | None = None,
    ) -> None:
        self.now = int(datetime.fromisoformat(begins).replace(tzinfo=UTC).timestamp() * 1000)
        folder.mkdir(exist_ok=True)
        self.url = url or stores.new_url(folder)
        self._stack = ExitStack()
        self._numbers = itertools.count(1)
        self._config = config or {}
        self.references: dict[str, int] = {}  # genuine Retour-Ref fields: text to send

    def __enter__(self) -> World:
        self.store = open_store(self.url, check=False)
        migrate.upgrade(self.store)
        self.writer = Writer(self.store)
        self.adopt(self._config)
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close()
        self.store.close()

    def adopt(self, config: dict[str, Any]) -> None:
        """Put another configuration in force."""
        self.config = Config.model_validate(config)
        self.ledger = Ledger.of(self.config, self.writer, self.clock)
        self.storms = Storms.of(self.config)
        self.outgoing = SendRecorder(SECRET, self.ledger, self.storms, self.clock, lambda: draw_id(self.now))
        self.recorder = ReturnRecorder(
            SECRET,
            self.ledger,
            self.storms,
            "postmaster",
            self.references.get,
            proof_rules=ProofRules.of(self.config),
        )

    def clock(self) -> int:
        """Milliseconds since 1970."""
        return self.now

    def wait(self, span: str) -> None:
        """Let time pass: "3d", "1h", "5m"."""
        self.now += int(span[:-1]) * UNITS[span[-1]]

    def until(self, date: str) -> None:
        """Let time pass until a date (UTC)."""
        self.now = int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() * 1000)

    def send(
        self,
        to: str | Sequence[str] = "bob@example.net",
        stream: str = "news",
        *,
        tag: str | None = None,
        spool: str | None = None,
    ) -> int | None:
        """What the milter does with a message; the send's id, None if nobody may get it."""
        wanted = (to,) if isinstance(to, str) else tuple(to)
        kept = tuple(one for one in wanted if self.why_not(one, stream) is None)
        if not kept:
            return None
        new = NewSend(stream, "app@example.com", kept, tag=tag, spool=spool)
        gone = self.writer.run(
            lambda connection: self.outgoing.record(connection, new, {}, track=True, watch=True), 20_000
        )
        return gone.send if len(gone.newly_suppressed) < len(kept) else None

    def bounce(
        self, send: int | None, to: str = "bob@example.net", *, like: str = "gone", at: int | None = None
    ) -> str:
        """A report about a send comes back; its outcome. With `at` it is old mail, imported now."""
        assert send is not None, "nothing was sent"
        type_, status, reason, blame = LIKE[like]
        said = {"status": status, "reason": reason, "blame": blame, "diagnostic": ""}
        part = failed(to, type_, original_recipient=to, **said)
        return self.returned(send, Report("bounce", (part,)), to, at=at)

    def conflict(
        self, send: int | None, names: str, *, like: str = "gone", to: str = "bob@example.net", at: int | None = None
    ) -> str:
        """A report about a send comes back that names somebody else."""
        assert send is not None, "nothing was sent"
        type_, status, reason, blame = LIKE[like]
        said = {"status": status, "reason": reason, "blame": blame, "diagnostic": ""}
        return self.returned(send, Report("bounce", (failed(names, type_, **said),)), to, at=at)

    def answer(self, send: int | None, kind: str, to: str = "bob@example.net") -> str:
        """An auto-reply, a complaint (of abuse, or by its Feedback-Type) or the like."""
        assert send is not None, "nothing was sent"
        types = {"complaint": "abuse", "opt-out": "opt-out", "not-spam": "not-spam"}
        kind, reason = "complaint" if kind in types else kind, types.get(kind)
        return self.returned(send, Report(kind, reason=reason, recipient=to), to)  # type: ignore[arg-type]

    def returned(self, send: int, report: Report | None, to: str, *, at: int | None = None) -> str:
        """Record a report; None: one that could not be read."""
        fingerprint = str(next(self._numbers)).encode()
        route, came_at = Route("verp", None, send), self.now if at is None else at
        arrival = ReturnedMessage(
            came_at,
            route,
            "b-x@bounces.example.com",
            "",
            b"",
            fingerprint,
            report,
            imported=None if at is None else self.now,
        )
        return self.writer.run(lambda connection: self.recorder.record(connection, arrival), 20_000)

    def why_not(self, to: str = "bob@example.net", stream: str = "news", at: int | None = None) -> Suppression | None:
        """Why an address must not get mail of a stream, now or at that time."""
        transactional = self.ledger.policy.for_stream(stream).transactional
        with self.store.reading() as connection:
            return suppressions.find_in_force(
                connection, address_key(SECRET, to), stream, at or self.now, transactional=transactional
            )

    def suppress(self, to: str, scope: str = "*", until: int | None = None) -> None:
        """What `retour suppressions add` does."""
        detail = {"scope": scope, "until": until, "note": "by hand"}
        self._operator(to, NewFact(self.now, "suppress", reason="operator", detail=detail))

    def lift(self, to: str) -> None:
        """What `retour suppressions remove` does."""
        with self.store.reading() as connection:
            scopes = [
                one.scope
                for one in suppressions.read(connection, [address_key(SECRET, to)]).get(address_key(SECRET, to), [])
            ]
        if scopes:
            self._operator(to, NewFact(self.now, "lift", reason="operator", detail={"scopes": scopes}))

    def undo(self, since: int, until: int) -> None:
        """What `retour undo` does."""
        found = failures(self.store, Window(since, until, frozenset()))
        for _ in undo(self.store, self.ledger, found, self.now, ""):
            pass

    def erase(self, to: str) -> None:
        """What `retour erase` does to the store."""
        key = address_key(SECRET, to)
        with self.store.writing() as connection:
            number = find_number(connection, key)
            if number:
                erase(connection, Address(number, key))

    def _operator(self, to: str, new: NewFact) -> None:
        def work(connection: Connection) -> None:
            number = ensure(connection, SECRET, [to])[to]
            address = Address(number, address_key(SECRET, to))
            self.ledger.write(connection, address, replace(new, address_id=number))

        self.writer.run(work, 20_000)

    def settle(self, storm: int, *, count: bool) -> None:
        """What `retour storm apply` and `discard` do."""
        with self.store.reading() as connection:
            found = storms.find(connection, storm)
        assert found is not None, f"there is no storm {storm}"
        for _ in settle(self.store, self.ledger, found, self.now, count=count):
            pass

    def counts(self, to: str) -> dict[str, dict[str, int]]:
        """What is counted about an address, by scope."""
        key = address_key(SECRET, to)
        with self.store.reading() as connection:
            number = find_number(connection, key) or 0
            account = stored(connection, [Address(number, key)])[number]
        return {scope: dict(count.totals) for scope, count in account.state.counts.items()}

    def tick(self) -> None:
        """What the daemon does every few seconds for storms."""
        while self.step():
            pass

    def step(self) -> bool:
        """One transaction of that; whether there is more to do."""
        return self.write(lambda connection: self.storms.tick(connection, self.ledger, self.now))

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do something in one transaction."""
        return self.writer.run(work, 20_000)

    def storm_list(self) -> list[Storm]:
        """All storms so far."""
        with self.store.reading() as connection:
            return storms.read(connection)

    def suppressed(self) -> dict[str, str]:
        """Who is suppressed now, and why: address to "scope cause"."""
        with self.store.reading() as connection:
            return {
                text or "?": f"{one.scope} {one.cause}"
                for text, one in suppressions.read_in_force(connection, self.now)
            }


LIKE = {
    "gone": ("hard", "5.1.1", "userunknown", "recipient"),
    "full": ("soft", "5.2.2", "mailboxfull", "recipient"),
    "blocked": ("hard", "5.7.1", "blocked", "sender"),
    "large": ("hard", "5.2.3", "emailtoolarge", "content"),
    "timeout": ("hard", "5.4.1", "networkerror", "network"),
    "greylisted": ("soft", "4.7.1", "ratelimited", "network"),
    "vague": ("hard", "5.0.0", "undefined", "nobody"),
}
