"""Ledger: writes facts about an address, and keeps its state and suppressions in line with them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
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
        self,
        connection: Connection,
        address: Address,
        new: NewFact,
        account: Account | None = None,
        *,
        first: bool = True,
        news: bool | None = None,
    ) -> tuple[int, str]:
        """Write a fact about an address and apply it; its id, and an explanation of what it led to.

        The address's row is locked until the transaction ends; `account` is what `accounts.lock` gave where it is
        locked already. A fact that is put in its place by its own date (from an import, or because the address's latest
        one was dated by a clock that was ahead) has the state computed again. `news` says whether hooks are told of it,
        if that differs from `first`.
        """
        account = account or accounts.lock(connection, address)
        in_place = bool(new.detail.get("dated")) or was_ahead(account.state.last, new.at)
        if not in_place:
            new = dataclasses.replace(new, at=max(new.at, account.state.last))
        policy_id = self._policy_number(connection) or put_in_force(connection, self.policy, new.at)
        number = facts.write(connection, dataclasses.replace(new, policy_id=policy_id))
        if new.kind == "undone":
            recent_failures.remove(connection, new.detail["facts"])  # no storm holds what an operator took back
        if in_place or new.kind in _REFOLDING_KINDS:
            after, why = accounts.refolded(connection, address)[0], ""
        else:
            result = self._step(connection, address, account, number, new, first=first)
            after, why = result.account, result.why
        accounts.write(connection, address, account, after)
        suppressions = (account.suppressions, after.suppressions)
        is_news = (first if news is None else news) and self._believed(new)
        self.announcer.fact(connection, number, new, suppressions, why, counts=is_news)
        return number, why

    def write_many(
        self, connection: Connection, new_facts: Sequence[tuple[Address, NewFact]], locked: Mapping[int, Account]
    ) -> None:
        """Write new facts that are not bounces, one about each address. Hooks are not told.

        `locked` is what `accounts.lock_all` gave for these addresses.
        """
        late = [(address, new) for address, new in new_facts if was_ahead(locked[address.id].state.last, new.at)]
        for address, new in late:
            self.write(connection, address, new, locked[address.id])
        new_facts = [one for one in new_facts if one not in late] if late else new_facts
        if not new_facts:
            return
        policy_id = self._policy_number(connection) or put_in_force(connection, self.policy, new_facts[0][1].at)
        dated = [
            dataclasses.replace(new, at=max(new.at, locked[address.id].state.last), policy_id=policy_id)
            for address, new in new_facts
        ]
        changed = []
        for (address, _), new, number in zip(new_facts, dated, facts.write_many(connection, dated), strict=True):
            before = locked[address.id]
            changed.append((address, before, self._step(connection, address, before, number, new, first=True).account))
        accounts.write_all(connection, changed)

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
