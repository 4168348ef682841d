"""Judge: what follows from reports about recorded recipients: for accounts, for storms, for what is sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from retour_policy.core.erased import kept_of_erased
from retour_policy.core.fold import Account, counts, matter_of, uses_up
from retour_policy.core.proof import NAMES_ANOTHER, UNSIGNED, Proof
from retour_policy.ledger import history
from retour_policy.ledger.accounts import lock, lock_all
from retour_policy.ledger.ledger import Ledger, Posting
from retour_policy.ledger.storm_watch import StormWatch
from retour_policy.ledger.storms import Storms, revive
from retour_policy.messages import surplus
from retour_policy.outbox.resends import Resends, is_new_failure
from retour_policy.store import addresses, facts, failures, recent_failures, storms
from retour_policy.store.addresses import Address
from retour_policy.store.facts import NewFact
from retour_policy.store.sends import Send
from retour_policy.tokens.token import id_time

CLAIMING_KINDS = ("complaint", "unsubscribe")  # a complaint can be an unsubscription


@dataclass(frozen=True, slots=True)
class Claim:
    """What a report says about a recorded recipient."""

    address: Address
    new: NewFact
    send: Send | None
    names: Sequence[str] = ()
    """What the report calls the address."""
    conflict: bytes | None = None
    """The key of somebody else whom it names as the recipient."""
    prove: Callable[[Connection], Proof] | None = None
    """How sure it is whom the report is about, where what came before tells; else the fact has it already."""
    dated: bool = False
    """It is old mail, imported now."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read about a claim, under the lock of its address."""

    claim: Claim
    account: Account
    text: str | None
    """The address; None: erased, and the report does not name it."""
    before: Sequence[NewFact]
    """What came back before from that recipient of the send in the matter of the claim."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is to be written."""

    posting: Posting
    send: Send | None
    text: str | None
    may_be_taken_back: bool
    """It counts, and a storm that opens soon holds it."""
    dated: bool


@dataclass(frozen=True)
class Judge:
    """Bound to the policy in force."""

    ledger: Ledger
    storms: Storms
    resends: Resends
    key: Callable[[str], bytes]
    """The store's key for an address."""

    def judge(self, connection: Connection, claims: Sequence[Claim]) -> list[bool]:
        """Write facts with what follows from them, as if one after the other; for each whether it was written.

        If not, it is only counted: it is no news, and there are many about this send already.
        """
        return [written for some in self._apart(claims) for written in self._judge(connection, some)]

    def _apart(self, claims: Sequence[Claim]) -> Iterator[list[Claim]]:
        """Neighbours of whom none changes what is known about another, so that all can be read before."""
        some, taken = list[Claim](), set[object]()
        for one in claims:
            concerns = {one.address.id, one.conflict or one.address.id}
            if some and (taken & concerns or self._frame(one) != self._frame(some[0])):
                yield some
                some, taken = [], set()
            some.append(one)
            taken |= concerns
        if some:
            yield some

    def _frame(self, claim: Claim) -> tuple[int, int] | None:
        """What no storm is about has none."""
        return None if claim.dated else self.storms.frame(claim.new.at)

    def _judge(self, connection: Connection, claims: Sequence[Claim]) -> list[bool]:
        known = self._read(connection, claims)
        watch = StormWatch.begin(self.storms, connection, list(self._failing(known)), claims[0].new.at)
        verdicts = [self._verdict(connection, watch, one) for one in known]
        watch.flush()
        self._write(connection, [one for one in verdicts if one])
        return [one is not None for one in verdicts]

    def _failing(self, known: Iterable[_Known]) -> Iterator[tuple[str, str]]:
        """The streams and addresses of those that the watch may be told of."""
        for one in known:
            if one.claim.send and one.text is not None and not one.claim.dated and self._may_be_storm(one.claim.new):
                yield one.claim.send.stream, one.text

    def _read(self, connection: Connection, claims: Sequence[Claim]) -> list[_Known]:
        """Lock first, because another host may be recording another report of the same send."""
        accounts = lock_all(connection, [one.address for one in claims])
        pairs = {(one.send.first, one.address.id) for one in claims if one.send}
        told = facts.read_of_sends(connection, pairs)
        texts = addresses.read_texts(connection, list(accounts))  # whoever held the lock may have erased some
        return [self._known(connection, one, accounts[one.address.id], texts, told) for one in claims]

    def _known(
        self,
        connection: Connection,
        claim: Claim,
        account: Account,
        texts: Mapping[int, str | None],
        told: Mapping[tuple[int, int], Sequence[NewFact]],
    ) -> _Known:
        if claim.prove:
            claim = replace(claim, new=replace(claim.new, proof=claim.prove(connection)))
        before = _alike(told.get((claim.send.first, claim.address.id), ()), claim.new) if claim.send else []
        if claim.send and before and (undone := failures.read_undone(connection, [claim.address.id])):
            kinds = _kinds_like(claim.new)
            kept = facts.read_of_send(connection, claim.send.first, claim.address.id, kinds, but=undone)
            before = _alike(kept, claim.new)
        text = texts.get(claim.address.id)
        if text is not None:
            return _Known(claim, account, text, before)
        # Erased, and stays so: the side is taken from the report.
        text = next((name for name in claim.names if self.key(name) == claim.address.key), None)
        new = replace(claim.new, named_key=None, detail=kept_of_erased(claim.new.detail))
        send = replace(claim.send, message_id=None, tag=None, spool=None) if claim.send else None
        return _Known(replace(claim, new=new, send=send), account, text, before)

    def _verdict(self, connection: Connection, watch: StormWatch, known: _Known) -> _Verdict | None:
        """What is to be written; None if it is only counted."""
        claim, new, send, before = known.claim, known.claim.new, known.claim.send, known.before
        spent = (one for one in before if uses_up(one, new.proof))
        worst = max((self.ledger.weight(connection, one) for one in spent), default=0)
        own = self.ledger.weight(connection, new)
        first = not worst or own > worst
        account, settled = known.account, False
        watched = send is not None and first and not claim.dated and self._may_be_storm(new)
        if send and watched:
            new, account, settled = self._in_storm(connection, watch, known, send, counted=worst > 0)
        elif send and not claim.dated and not before and known.text is not None and self._blames_sender(new):
            self.storms.blame(connection, send.stream, known.text, id_time(send.first), new)
        news = not before or (first and own > 0)
        news = news or bool(send and is_new_failure(connection, send, new))
        if not news and surplus.is_one(connection, new):
            surplus.add(connection, new)
            return None
        may_be_taken_back = watched and not settled and not new.detail.get("storm")
        posting = Posting(claim.address, new, account, first, news)
        return _Verdict(posting, send, known.text, may_be_taken_back, claim.dated)

    def _write(self, connection: Connection, verdicts: Sequence[_Verdict]) -> None:
        posted = self.ledger.write_all(connection, [one.posting for one in verdicts])
        recent = [
            self.storms.recent(fact.number, one.posting.new, one.text)
            for one, fact in zip(verdicts, posted, strict=True)
            if one.may_be_taken_back
        ]
        recent_failures.write(connection, recent)
        for one in verdicts:
            if one.send and not one.dated:
                self.resends.consider(connection, one.send, one.posting.new)

    def _may_be_storm(self, new: NewFact) -> bool:
        """A failure that counts, where it matters who is to blame."""
        return self._tells_of_side(new) and counts(new, self.ledger.policy.for_stream(new.stream).rules)

    def _blames_sender(self, new: NewFact) -> bool:
        return self._tells_of_side(new) and new.blame == "sender" and new.proof != UNSIGNED

    def _tells_of_side(self, new: NewFact) -> bool:
        """A bounce of the recipient's own side, where it matters who is to blame."""
        if new.proof in NAMES_ANOTHER:  # who failed is at another side
            return False
        return new.kind == "bounce" and self.ledger.policy.for_stream(new.stream).rules.heed_blame

    def _in_storm(
        self, connection: Connection, watch: StormWatch, known: _Known, send: Send, *, counted: bool
    ) -> tuple[NewFact, Account, bool]:
        """The fact, marked if a storm holds it. If the address fails on and on, all counts, held before or not.

        The third tells whether it does: no storm takes that back.
        """
        new, account, address = known.claim.new, known.account, known.claim.address
        if known.text is None:  # erased: it may have been at the side of any storm
            storm = storms.find_open_anywhere(connection, send.stream)
        else:
            storm = watch.failure(send.stream, known.text, id_time(send.first), new.at, counted=counted)
        if storm is None and not account.state.held:
            return new, account, False
        stream_policy = self.ledger.policy.for_stream(send.stream)
        settled = self.storms.settled(connection, account, address, history.entry(0, new), stream_policy)
        if settled is None:
            return (replace(new, detail={**new.detail, "storm": storm}) if storm else new), account, False
        if settled:
            revive(connection, self.ledger, address, settled, send.stream, new.at, but=send.first)
            account = lock(connection, address)
        return new, account, True


def _kinds_like(new: NewFact) -> Sequence[str]:
    return CLAIMING_KINDS if new.kind in CLAIMING_KINDS else (new.kind,)


def _alike(some: Iterable[NewFact], new: NewFact) -> list[NewFact]:
    """Those in the same matter."""
    return [one for one in some if one.kind in _kinds_like(new) and matter_of(one) == matter_of(new)]
