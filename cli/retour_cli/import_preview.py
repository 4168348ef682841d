"""Import preview: what importing old mail would lead to, found by recording each message and rolling back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from sqlalchemy import Connection

from retour_policy.core.fold import Account, is_cleared, weight
from retour_policy.core.hook_events import Change, changes
from retour_policy.ledger.accounts import folded, stream_policies
from retour_policy.ledger.history import History, history_of
from retour_policy.ledger.policy_versions import Policy, all_policies
from retour_policy.maintenance.rebuild import stored
from retour_policy.messages.returned import ReturnRecorder
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.store import addresses, facts, sends
from retour_policy.store.addresses import Address
from retour_policy.store.database import Store
from retour_policy.store.facts import NewFact

MAX_ADDRESSES_FOLDED = 200  # in one transaction


class _RollBack(Exception):
    """Raised to roll the transaction back."""


@dataclass
class _Told:
    """What the mailbox says about one address."""

    text: str | None
    news: list[NewFact] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What importing would do to one address."""

    text: str | None
    changes: tuple[Change, ...]
    counts: int
    """How many reports would count."""


class ImportPreview:
    """Takes messages one after the other, in short transactions that are rolled back; then says what they add up to."""

    def __init__(self, store: Store, now: int) -> None:
        self._store = store
        self._now = now
        self._seen: set[tuple[int | None, str, bytes]] = set()
        self._told: dict[bytes, _Told] = {}
        self._about_nobody = 0

    def take(self, recorder: ReturnRecorder, message: ReturnedMessage) -> str:
        """The outcome that recording the message would have."""
        same = (message.route.send, message.recipient, message.fingerprint)
        if same in self._seen:
            return "duplicate"
        self._seen.add(same)
        outcome = "failed"
        try:
            with self._store.writing() as connection:
                last = facts.find_last_id(connection)
                outcome = recorder.record(connection, message)
                self._keep(connection, last)
                raise _RollBack
        except _RollBack:
            return outcome

    def _keep(self, connection: Connection, last: int) -> None:
        """Remember the facts that were written after that one."""
        for fact in facts.read_after(connection, last):
            number = fact.what.address_id
            if number is None or fact.what.policy_id is None:
                self._about_nobody += 1
                continue
            told = self._told.setdefault(addresses.find_key(connection, number), _Told(fact.address))
            told.news.append(fact.what)

    def total(self, counter: Counter[str]) -> Iterator[tuple[str | None, Change]]:
        """The addresses (None: erased) whose suppressions would change, and how.

        How many reports would count, and how many not, is added to `counter`.
        """
        counter["would count for nobody"] += self._about_nobody
        keys = iter(self._told)
        while some := list(islice(keys, MAX_ADDRESSES_FOLDED)):
            with self._store.reading() as connection:
                outlooks = list(self._outlooks(connection, some))
            for one in outlooks:
                counter["would count"] += one.counts
                yield from ((one.text, change) for change in one.changes)
        news = sum(len(one.news) for one in self._told.values())
        counter["would count for nobody"] += news - counter["would count"]
        for name in ("would count", "would count for nobody"):
            if not counter[name]:
                del counter[name]

    def _outlooks(self, connection: Connection, keys: Sequence[bytes]) -> Iterator[_Outlook]:
        numbers = addresses.read_numbers(connection, keys)
        policies, last = all_policies(connection), facts.find_last_id(connection)
        known = [Address(number, key) for key, number in numbers.items()]
        before = stored(connection, known)
        judged = facts.read_judged(connection, list(numbers.values()))
        made = sends.read_times(connection, list(numbers.values()))
        for key in keys:
            number, told = numbers.get(key, 0), self._told[key]
            news = list(enumerate(told.news, last + 1))
            history = history_of([*judged.get(number, ()), *news], made.get(number, ()))
            yield self._outlook(told, history, before.get(number, Account()), policies, last)

    def _outlook(
        self, told: _Told, history: History, before: Account, policies: Mapping[int, Policy], last: int
    ) -> _Outlook:
        after, _ = folded(history, policies)
        judges = stream_policies(history, policies)
        new = [one for one in history.entries if one.id > last and weight(one, judges[one.id].rules)]
        counts = [one for one in new if not is_cleared(one, judges[one.id], history.send_times)]
        found = changes(before.suppressions, after.suppressions, self._now)
        return _Outlook(told.text, tuple(found), len(counts))
