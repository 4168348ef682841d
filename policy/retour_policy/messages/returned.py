"""Returned: records a returned message and everything that follows from it, once, in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from sqlalchemy import Connection

from retour_bounces import Report
from retour_policy.address import normalise
from retour_policy.clock import Clock
from retour_policy.config.model import Config
from retour_policy.core.erased import kept_of_erased
from retour_policy.core.fold import Account, counts, matter_of, uses_up
from retour_policy.core.hook_events import Data, Event
from retour_policy.core.proof import NAMES_ANOTHER, UNSIGNED
from retour_policy.ledger import history
from retour_policy.ledger.accounts import lock
from retour_policy.ledger.ledger import Ledger
from retour_policy.ledger.storms import Storms, revive
from retour_policy.messages import surplus, unsubscribe_mail
from retour_policy.messages.attribution import AttributedPart
from retour_policy.messages.complaint_tokens import ComplaintTokens
from retour_policy.messages.matching import Match, Matcher, ProofRules, names_in
from retour_policy.messages.returned_message import ReturnedMessage, detail_of, kind_of
from retour_policy.messages.router import Route, Router
from retour_policy.messages.signer import Signer
from retour_policy.messages.unsubscribe_mail import Letter
from retour_policy.messages.unsubscribes import UnsubscribeRecorder
from retour_policy.outbox import forward_room, queue
from retour_policy.outbox.forward_room import UNMATCHED_FIELD
from retour_policy.outbox.resends import Resends, is_new_failure
from retour_policy.sanitize import clean_values
from retour_policy.store import addresses, facts, failures, seen, sends, storms, unread
from retour_policy.store.addresses import Address
from retour_policy.store.facts import NewFact
from retour_policy.store.outbox import NewItem
from retour_policy.store.sends import Send
from retour_policy.tokens.keyring import KeyRingFile
from retour_policy.tokens.token import id_time

Outcome = Literal["recorded", "duplicate", "surplus", "forwarded", "unmatched"]
DIGEST_OCTETS = 16
CLAIMING_KINDS = ("complaint", "unsubscribe")  # a complaint can be an unsubscription
MAX_PARTS_AT_ONCE = 50  # of a report, recorded in one transaction: more would keep others waiting
MAX_UNREAD_HEAD_OCTETS = 16_384  # kept of a report that could not be read or recorded


@dataclass(frozen=True, slots=True)
class _Case:
    """What a report is about: the send, and its parts in the order of the addresses that they are about."""

    match: Match
    parts: Sequence[AttributedPart] = ()
    is_matched: bool = False
    """Whether it is known whom it is about; else postmaster gets it."""

    def portions(self) -> Iterator[_Case]:
        """The same with a few parts each; the first one also where there are none."""
        for start in range(0, max(len(self.parts), 1), MAX_PARTS_AT_ONCE):
            yield replace(self, parts=self.parts[start : start + MAX_PARTS_AT_ONCE])


Transaction = Callable[[Connection], Outcome]
"""What is to be done in a transaction of its own."""


@dataclass(frozen=True)
class ReturnRecorder:
    """What recording needs to know; all but the secret changes with the configuration."""

    secret: bytes
    ledger: Ledger
    storms: Storms
    postmaster: str
    reference: Callable[[str], int | None]
    """Reads the value of a Retour-Ref field: the send id if Retour made it."""
    resends: Resends = field(default_factory=Resends)
    looped: Callable[[bytes], bool] = lambda raw: False
    """Whether a message is one of Retour's own forwards."""
    proof_rules: ProofRules = field(default_factory=ProofRules)
    unsubscribes: UnsubscribeRecorder | None = None
    complaints: ComplaintTokens = field(default_factory=ComplaintTokens)

    @classmethod
    def of(cls, config: Config, ring: KeyRingFile, ledger: Ledger, clock: Clock) -> ReturnRecorder:
        """As a configuration and its key ring have it; tokens are as old as `clock` says."""
        router = Router(config, ring, clock)
        return cls(
            secret=ring.ring.address_secret,
            ledger=ledger,
            storms=Storms.of(config),
            postmaster=config.lmtpd.postmaster,
            reference=router.reference,
            resends=Resends.of(config, Signer(ring, clock).draw),
            looped=router.is_forward,
            proof_rules=ProofRules.of(config),
            unsubscribes=UnsubscribeRecorder(config, ledger),
            complaints=ComplaintTokens(router.reference, router.feedback, router.send_of),
        )

    @property
    def matcher(self) -> Matcher:
        """What finds the send of a message."""
        return Matcher(self.secret, self.reference, self.ledger.policy, self.proof_rules, self.complaints)

    def transactions(self, message: ReturnedMessage) -> Iterator[Transaction]:
        """The transactions that write `message` once, short ones, to be done in this order; nearly always one.

        A report may name thousands of recipients. Each portion of its parts is written once: where not all of them
        were, the message comes again, and the others are. The outcome is that of the first. They raise as `record`.
        """
        if (
            message.report is None
            or message.route.kind == "unsubscribe"
            or len(message.report.reports) <= MAX_PARTS_AT_ONCE
        ):
            yield lambda connection: self.record(connection, message)
            return
        cases = list[_Case]()
        yield lambda connection: self._record_first(connection, message, cases)
        for number, case in enumerate(cases[1:], 1):
            yield partial(self._record_portion, message=message, case=case, number=number)

    def record(self, connection: Connection, message: ReturnedMessage, case: _Case | None = None) -> Outcome:
        """Write `message` once; the outcome. Raises `TooMuchWaits` where it is for postmaster.

        `case` is what it is about, if that is known already.
        """
        route = message.route
        by_token = sends.find(connection, route.send) if route.send is not None else None
        if route.kind == "unsubscribe":
            left = self._leave(connection, message, by_token)
            return left or self.record(connection, replace(message, route=Route("role")))  # for a person to read
        digest = _digest(message, by_token, self.matcher)
        is_new = seen.add(connection, route.send, digest, message.at)
        if not is_new and (route.send is not None or not seen.has(connection, seen.UNMATCHED, digest)):
            return "duplicate"
        case = case or self._case(connection, message, by_token)
        if not is_new:
            return self._record_again(connection, message, case, digest)
        outcome = self._record_new(connection, message, case)
        if outcome in ("surplus", "unmatched"):
            seen.remove(connection, route.send, digest)
        elif outcome == "forwarded" and route.send is None and message.report:
            seen.add(connection, seen.UNMATCHED, digest, message.at)
        return outcome

    def _leave(self, connection: Connection, message: ReturnedMessage, by_token: Send | None) -> Outcome | None:
        """Somebody wrote to the address by which they leave a stream. None: it is no such message."""
        if self.unsubscribes is None:
            return None
        kind = message.report.kind if message.report else None
        letter = Letter(message.at, message.route.subscription, by_token, message.sender, message.raw, kind)
        left = unsubscribe_mail.leave(connection, self.unsubscribes, letter, self.matcher.key)
        return None if left is None else ("recorded" if left else "duplicate")

    def _case(self, connection: Connection, message: ReturnedMessage, by_token: Send | None) -> _Case:
        route, report, matcher = message.route, message.report, self.matcher
        is_signed = message.authentication.is_signed
        match = matcher.find(connection, route, report, by_token, message.at, is_signed=is_signed)
        if report is None:
            return _Case(match)
        parts = matcher.attribute(connection, route, report, match, dated=message.dated)
        parts.sort(key=lambda one: one.address_id or 0)  # their rows are locked in this order by all hosts
        return _Case(match, parts, matcher.is_matched(route, report, match, parts))

    def _record_first(self, connection: Connection, message: ReturnedMessage, cases: list[_Case]) -> Outcome:
        """Sort out what a report with very many parts is about, into `cases`, and record the first of them."""
        route = message.route
        by_token = sends.find(connection, route.send) if route.send is not None else None
        whole = self._case(connection, message, by_token)
        cases[:] = whole.portions()
        if message.dated and not whole.is_matched:
            del cases[1:]
        return self.record(connection, message, cases[0])

    def _record_portion(self, connection: Connection, message: ReturnedMessage, case: _Case, number: int) -> Outcome:
        """Record some further parts of a report, if they were not recorded before."""
        by_token = case.match.send if case.match.by == "token" else None
        digest = hashlib.sha256(_digest(message, by_token, self.matcher) + number.to_bytes(4, "big")).digest()
        digest = digest[:DIGEST_OCTETS]
        if not seen.add(connection, message.route.send, digest, message.at):
            return "duplicate"
        if not self._write_all(connection, message, case):
            seen.remove(connection, message.route.send, digest)
            return "surplus"
        return "recorded"

    def _record_again(self, connection: Connection, message: ReturnedMessage, case: _Case, digest: bytes) -> Outcome:
        """Record a message that came before, if it matched nothing then and does now."""
        if not case.is_matched:
            return "unmatched" if message.dated else "duplicate"
        if not seen.remove(connection, seen.UNMATCHED, digest):  # another host was quicker
            return "duplicate"
        return self._record_new(connection, message, case)

    def _record_new(self, connection: Connection, message: ReturnedMessage, case: _Case) -> Outcome:
        if message.report is None:
            return self._keep_unread(connection, message, case.match.send)
        if message.dated and not case.is_matched:  # it can be imported again, when more is known
            return "unmatched"
        if case.parts and not self._write_all(connection, message, case):
            return "surplus"
        if case.is_matched:
            return "recorded"
        self._forward(connection, message, None)
        return "forwarded"

    def _write_all(self, connection: Connection, message: ReturnedMessage, case: _Case) -> bool:
        """Write the facts of some parts; False if all are only counted."""
        report = message.report
        assert report is not None, "what could not be read has no parts"
        written = [self._write(connection, message, report, case.match, part) for part in case.parts]
        return any(written)

    def _write(
        self,
        connection: Connection,
        message: ReturnedMessage,
        report: Report,
        match: Match,
        one: AttributedPart,
    ) -> bool:
        """Write the fact of one part of the report; False if it is only counted."""
        new = self._fact(message, report, match, one)
        if one.address_id is not None and one.key is not None:
            new = replace(new, proof=self.matcher.proof_of(connection, match, one))
            address = Address(one.address_id, one.key)
            return self._judge(connection, message, match.send, address, new, names_in([one.part]))
        if surplus.is_one(connection, new, len(match.send.recipients) if match.send else 1):
            surplus.add(connection, new)
            return False
        facts.write(connection, new)
        return True

    def _fact(self, message: ReturnedMessage, report: Report, match: Match, one: AttributedPart) -> NewFact:
        part, send = one.part, match.send
        fails_at_another = bool(part and part.action == "failed" and one.conflict)
        return NewFact(
            at=message.at,
            kind=kind_of(report, part),
            address_id=one.address_id,
            send_id=send.first if send else message.route.send,
            stream=send.stream if send else message.route.stream,
            action=part.action if part else None,
            type=part.type if part else None,
            status=part.status if part else None,
            reason=(part.reason if part else report.reason),
            blame=part.blame if part else None,
            proof=match.proof,
            named_key=self.matcher.key(one.conflict) if fails_at_another and one.conflict else None,
            detail=clean_values(detail_of(message, report, send, one) | self._resent(send)),
        )

    def _judge(
        self,
        connection: Connection,
        message: ReturnedMessage,
        send: Send | None,
        address: Address,
        new: NewFact,
        names: Sequence[str],
    ) -> bool:
        """Write a fact about an address with what follows from it; `names`: what the report calls the address.

        False if it is only counted: it is no news, and there are many about this send already.
        """
        account = lock(connection, address)  # first, because another host may be recording another report of this send
        before = self._before(connection, send, address, new) if send else []
        spent = (one for one in before if uses_up(one, new.proof))
        worst = max((self.ledger.weight(connection, one) for one in spent), default=0)
        own = self.ledger.weight(connection, new)
        first = not worst or own > worst
        text = addresses.find_text(connection, address.id)  # read now: whoever held the lock may have erased it
        if text is None:  # erased, and stays so: the side is taken from the report
            new = replace(new, named_key=None, detail=kept_of_erased(new.detail))
            send = replace(send, message_id=None, tag=None, spool=None) if send else None
            text = next((name for name in names if self.matcher.key(name) == address.key), None)
        watched = send is not None and first and not message.dated and self._may_be_storm(new)
        settled = False
        if send and watched:
            new, account, settled = self._in_storm(connection, address, account, text, send, new, counted=worst > 0)
        elif send and not message.dated and not before and text is not None and self._blames_sender(new):
            self.storms.blame(connection, send.stream, text, id_time(send.first), new)
        news = not before or (first and own > 0)
        news = news or bool(send and is_new_failure(connection, send, new))
        if not news and surplus.is_one(connection, new):
            surplus.add(connection, new)
            return False
        number, _ = self.ledger.write(connection, address, new, account, first=first, news=news)
        if watched and not settled and not new.detail.get("storm"):
            self.storms.remember(connection, number, new, text)
        if send and not message.dated:
            self.resends.consider(connection, send, new)
        return True

    def _before(self, connection: Connection, send: Send, address: Address, new: NewFact) -> list[NewFact]:
        """What came back before from that recipient of the send in the matter of `new`."""
        kinds = CLAIMING_KINDS if new.kind in CLAIMING_KINDS else (new.kind,)
        before = facts.read_of_send(connection, send.first, address.id, kinds)
        if before and (undone := failures.read_undone(connection, [address.id])):
            before = facts.read_of_send(connection, send.first, address.id, kinds, but=undone)
        return [one for one in before if matter_of(one) == matter_of(new)]

    def _resent(self, send: Send | None) -> dict[str, int]:
        """Which resend came back, if it was one."""
        if not send or not send.attempt:
            return {}
        return {"resend": send.attempt, "of": max(send.attempt, self.resends.total(send.stream) or 0)}

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
        self,
        connection: Connection,
        address: Address,
        account: Account,
        text: str | None,
        send: Send,
        new: NewFact,
        *,
        counted: bool,
    ) -> tuple[NewFact, Account, bool]:
        """The fact, marked if a storm holds it. If the address fails on and on, all counts, held before or not.

        The third tells whether it does: no storm takes that back.
        """
        if text is None:  # erased: it may have been at the side of any storm
            storm = storms.find_open_anywhere(connection, send.stream)
        else:
            storm = self.storms.failure(connection, send.stream, text, id_time(send.first), new.at, counted=counted)
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

    def _keep_unread(self, connection: Connection, message: ReturnedMessage, send: Send | None) -> Outcome:
        """Keep what cannot be read or recorded, under its token, and forward it to postmaster."""
        only = next(iter(send.recipients), None) if send and not send.is_shared else None
        stream = send.stream if send else message.route.stream
        detail = clean_values({"came_to": message.recipient, "from": message.sender})
        erased = send is not None and only is not None and _is_erased(connection, send, only)
        new = NewFact(message.at, "unread", only, message.route.send, stream, detail={} if erased else detail)
        if surplus.is_one(connection, new, len(send.recipients) if send else 1):
            surplus.add(connection, new)
            return "surplus"
        number = facts.write(connection, new)
        if not erased:
            unread.write(connection, number, message.raw[:MAX_UNREAD_HEAD_OCTETS])
        self._forward(connection, message, number)
        return "forwarded"

    def _forward(self, connection: Connection, message: ReturnedMessage, fact_id: int | None) -> None:
        """Forward it to postmaster. A forward that comes back becomes a dead letter, to prevent a mail loop."""
        error = "came back to us: does lmtpd.postmaster lead into a bounce domain?" if self.looped(message.raw) else ""
        missing = self._missing(message)
        body = UNMATCHED_FIELD + missing.encode() + b"\r\n" if missing else b""
        body += forward_room.kept(connection, message.raw)
        new = NewItem(message.at, "forward", queue.FORWARD, self.postmaster, body, fact_id=fact_id, error=error)
        queue.put(connection, new)
        kind = message.report.kind if message.report else "unread"
        texts = clean_values({"delivered_to": message.recipient, "sender": message.sender})
        data = Data(stream=message.route.stream, kind=kind, explanation=missing, **texts)
        self.ledger.announcer.tell(connection, Event("unmatched", message.at, data), fact_id)

    def _missing(self, message: ReturnedMessage) -> str | None:
        """What a complaint lacks to be matched; None of what is no complaint, or is for a person to read anyway."""
        if message.report is None or message.report.kind != "complaint" or message.route.kind == "role":
            return None
        return self.complaints.missing(message.report, is_signed=message.authentication.is_signed)


def _digest(message: ReturnedMessage, by_token: Send | None, matcher: Matcher) -> bytes:
    """What recognises this message when it comes back again to the same send, or to the same bounce address.

    The recipient named by XVERP makes it another message only if they are on record: with invented ones anybody
    with a token could have one message recorded a thousand times.
    """
    route = message.route
    named = matcher.key(route.named) if route.named else b""
    if route.send is None:
        named = normalise(message.recipient).encode("utf-8", "surrogatepass")
    elif by_token is None or named not in by_token.recipients.values():
        named = b""
    return hashlib.sha256(named + b"\0" + message.fingerprint).digest()[:DIGEST_OCTETS]


def _is_erased(connection: Connection, send: Send, number: int) -> bool:
    """Whether a recipient was erased. If not, they cannot be erased until this transaction ends."""
    lock(connection, Address(number, send.recipients[number]))
    return addresses.is_erased(connection, number)
