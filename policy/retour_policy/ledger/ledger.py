"""Ledger: writes facts about an address, and keeps its state and suppressions in line with them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from retour_policy.clock import Clock
from retour_policy.config.model import Config
from retour_policy.core.fold import Account, StepResult, step, weight
from retour_policy.core.order import was_ahead
from retour_policy.core.proof import COPIED, UNSIGNED
from retour_policy.errors import StoreUnavailable
from retour_policy.ledger import accounts, history
from retour_policy.ledger.policy_versions import Policy, all_policies, put_in_force
from retour_policy.outbox.announcer import Announcer
from retour_policy.store import facts, recent_failures
from retour_policy.store.addresses import Address
from retour_policy.store.facts import NewFact
from retour_policy.store.opened import number_of
from retour_policy.store.writer import Writer

ADOPT_TIMEOUT_MS = 2_000
_REFOLDING_KINDS = ("held", "undone", "revived")  # they change what earlier facts count for


@dataclass(frozen=True, slots=True)
class Posting:
    """A fact to be written about an address, whose row is locked."""

    address: Address
    new: NewFact
    account: Account
    """As `accounts.lock` gave it."""
    first: bool = True
    """Nothing as bad of its matter counted before for its send and this address."""
    news: bool | None = None
    """Whether hooks are told of it, if that differs from `first`."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A fact that was written."""

    number: int
    why: str
    """An explanation of what it led to."""


@dataclass(frozen=True)
class Ledger:
    """Bound to the policy in force."""

    policy: Policy
    policy_id: int | None = None
    """None if the store was down when the policy was adopted; the policy is then put in force with the next fact."""
    opening: int | None = None
    """The opening of the database that has it under this number; after it there may be another. None: any."""
    announcer: Announcer = field(default_factory=Announcer)

    @classmethod
    def of(cls, config: Config, writer: Writer, clock: Clock) -> Ledger:
        """A ledger that judges by `config`. A configuration can be adopted while the store is down."""
        policy = Policy.of(config)
        number, opening = None, None
        with contextlib.suppress(StoreUnavailable):
            number, opening = writer.run(
                lambda connection: (put_in_force(connection, policy, clock()), number_of(connection)), ADOPT_TIMEOUT_MS
            )
        return cls(policy, number, opening, Announcer.of(config))

    def write(
        self, connection: Connection, address: Address, new: NewFact, account: Account | None = None
    ) -> tuple[int, str]:
        """Write a fact about an address and apply it; its id, and an explanation of what it led to.

        The address's row is locked until the transaction ends; `account` is what `accounts.lock` gave where it is
        locked already.
        """
        account = account or accounts.lock(connection, address)
        (posted,) = self.write_all(connection, [Posting(address, new, account)])
        return posted.number, posted.why

    def write_all(self, connection: Connection, postings: Sequence[Posting]) -> list[Posted]:
        """Write facts and apply them, one about each address, each statement once for all.

        A fact that is put in its place by its own date (from an import, or because the address's latest one was dated
        by a clock that was ahead) has the state computed again.
        """
        if not postings:
            return []
        policy_id = self._policy_number(connection) or put_in_force(connection, self.policy, postings[0].new.at)
        dated = [_dated(one, policy_id) for one in postings]
        numbers = facts.write_many(connection, [one.new for one in dated])
        steps = [self._applied(connection, one, number) for one, number in zip(dated, numbers, strict=True)]
        pairs = list(zip(dated, steps, strict=True))
        accounts.write_all(connection, [(one.address, one.account, result.account) for one, result in pairs])
        for (one, result), number in zip(pairs, numbers, strict=True):
            self._announce(connection, one, number, result)
        return [Posted(number, result.why) for number, result in zip(numbers, steps, strict=True)]

    def _applied(self, connection: Connection, posting: Posting, number: int) -> StepResult:
        """The account after a fact that was written under this number."""
        new = posting.new
        if new.kind == "undone":
            recent_failures.remove(connection, new.detail["facts"])  # no storm holds what an operator took back
        if _is_put_in_place(posting) or new.kind in _REFOLDING_KINDS:
            return StepResult(accounts.refolded(connection, posting.address)[0], "")
        return self._step(connection, posting.address, posting.account, number, new, first=posting.first)

    def _announce(self, connection: Connection, posting: Posting, number: int, result: StepResult) -> None:
        suppressions = (posting.account.suppressions, result.account.suppressions)
        is_news = (posting.first if posting.news is None else posting.news) and self._believed(posting.new)
        self.announcer.fact(connection, number, posting.new, suppressions, result.why, counts=is_news)

    def weight(self, connection: Connection, fact: NewFact) -> int:
        """How bad a fact, new or recorded, is by the policy that it was judged by; 0: it does not count."""
        return weight(fact, self._judge_of(connection, fact).for_stream(fact.stream).rules)

    def _judge_of(self, connection: Connection, fact: NewFact) -> Policy:
        ours = fact.policy_id is None or fact.policy_id == self._policy_number(connection)
        return self.policy if ours else all_policies(connection)[fact.policy_id or 0]

    def _policy_number(self, connection: Connection) -> int | None:
        """The number of the policy in this very database, if that is known."""
        return self.policy_id if self.opening in (None, number_of(connection)) else None

    def _believed(self, new: NewFact) -> bool:
        if new.proof == COPIED:
            return False
        return new.proof != UNSIGNED or self.policy.for_stream(new.stream).rules.count_unsigned

    def _step(
        self, connection: Connection, address: Address, account: Account, number: int, new: NewFact, *, first: bool
    ) -> StepResult:
        stream_policy = self.policy.for_stream(new.stream)
        entry = history.entry(number, new, first=first)
        good: tuple[int, ...] = ()
        if entry.kind == "bounce":
            good = history.good_sends(connection, address.id, account, entry.stream, entry.at, stream_policy.rules)
        return step(account, entry, stream_policy, good)


def _is_put_in_place(posting: Posting) -> bool:
    """Whether the fact stands by its own date: what was imported, with the good sends since; and what is older than an
    address's latest one that a clock which was ahead has dated.
    """
    return bool(posting.new.detail.get("dated")) or was_ahead(posting.account.state.last, posting.new.at)


def _dated(posting: Posting, policy_id: int) -> Posting:
    """The same, in the order of the address's facts, with the policy that it is judged by."""
    new = dataclasses.replace(posting.new, policy_id=policy_id)
    if not _is_put_in_place(posting):
        new = dataclasses.replace(new, at=max(new.at, posting.account.state.last))
    return dataclasses.replace(posting, new=new)
