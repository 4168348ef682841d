"""Returned: records a returned message and everything that follows from it, once, in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from sqlalchemy import Connection

from retour_policy.address import normalise
from retour_policy.clock import Clock
from retour_policy.config.model import Config
from retour_policy.core.hook_events import Data, Event
from retour_policy.ledger.accounts import lock
from retour_policy.ledger.ledger import Ledger
from retour_policy.ledger.storms import Storms
from retour_policy.messages import surplus, unsubscribe_mail
from retour_policy.messages.attribution import AttributedPart
from retour_policy.messages.complaint_tokens import ComplaintTokens
from retour_policy.messages.judge import Claim, Judge
from retour_policy.messages.matching import Match, Matcher, ProofRules, names_in
from retour_policy.messages.returned_message import MAX_PARTS_AT_ONCE, ReturnedMessage, detail_of, kind_of
from retour_policy.messages.router import Route, Router
from retour_policy.messages.signer import Signer
from retour_policy.messages.unsubscribe_mail import Letter
from retour_policy.messages.unsubscribes import UnsubscribeRecorder
from retour_policy.outbox import forward_room, queue
from retour_policy.outbox.forward_room import UNMATCHED_FIELD
from retour_policy.outbox.resends import Resends
from retour_policy.sanitize import clean_values
from retour_policy.store import addresses, facts, seen, sends, unread
from retour_policy.store.addresses import Address
from retour_policy.store.facts import NewFact
from retour_policy.store.outbox import NewItem
from retour_policy.store.sends import Send
from retour_policy.tokens.keyring import KeyRingFile

Outcome = Literal["recorded", "duplicate", "surplus", "forwarded", "unmatched"]
DIGEST_OCTETS = 16
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


@dataclass(frozen=True, slots=True, eq=False)
class _Arrived:
    """A message, with the send that its token names."""

    message: ReturnedMessage
    by_token: Send | None
    digest: bytes

    @property
    def is_plain(self) -> bool:
        """Whether it is what nearly all are: a report that was read, to a token. Those are recorded together."""
        message, route = self.message, self.message.route
        is_read = message.report is not None and not message.dated
        return is_read and route.send is not None and route.kind != "unsubscribe"

    @property
    def identity(self) -> tuple[int, bytes]:
        """What it has in common with none but its copies."""
        return self.message.route.send or 0, self.digest


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
        if message.is_short:
            yield lambda connection: self.record(connection, message)
            return
        cases = list[_Case]()
        yield lambda connection: self._record_first(connection, message, cases)
        for number, case in enumerate(cases[1:], 1):
            yield partial(self._record_portion, message=message, case=case, number=number)

    def record(self, connection: Connection, message: ReturnedMessage) -> Outcome:
        """Write one message: see `record_many`."""
        return self.record_many(connection, [message])[0]

    def record_many(self, connection: Connection, messages: Sequence[ReturnedMessage]) -> list[Outcome]:
        """Write some messages, each once, as if one after the other; the outcomes.

        Each statement is executed once for all that came back to tokens. Raises `TooMuchWaits` where one is for
        postmaster.
        """
        numbers = {one.route.send for one in messages if one.route.send is not None}
        by_token = sends.read(connection, numbers)
        arrived = [self._arrived(one, by_token.get(one.route.send or 0)) for one in messages]
        return [outcome for some in _apart(arrived) for outcome in self._record(connection, some)]

    def _arrived(self, message: ReturnedMessage, by_token: Send | None) -> _Arrived:
        return _Arrived(message, by_token, _digest(message, by_token, self.matcher))

    def _record(self, connection: Connection, arrived: Sequence[_Arrived]) -> list[Outcome]:
        if not arrived[0].is_plain:
            return [self._record_alone(connection, arrived[0])]
        new = seen.add_many(connection, [(*one.identity, one.message.at) for one in arrived])
        cases = {one: self._case(connection, one.message, one.by_token) for one in arrived if one.identity in new}
        written = self._write(connection, [(one.message, case) for one, case in cases.items()])
        outcomes = dict[_Arrived, Outcome]()
        for (one, case), is_written in zip(cases.items(), written, strict=True):
            outcomes[one] = self._outcome(connection, one.message, case, is_written=is_written)
            if outcomes[one] == "surplus":
                seen.remove(connection, *one.identity)
        return [outcomes.get(one, "duplicate") for one in arrived]

    def _record_alone(self, connection: Connection, arrived: _Arrived, case: _Case | None = None) -> Outcome:
        """Write a message of any kind. `case` is what it is about, if that is known already."""
        message, digest, route = arrived.message, arrived.digest, arrived.message.route
        if route.kind == "unsubscribe":
            left = self._leave(connection, message, arrived.by_token)
            return left or self.record(connection, replace(message, route=Route("role")))  # for a person to read
        is_new = seen.add(connection, route.send, digest, message.at)
        if not is_new and (route.send is not None or not seen.has(connection, seen.UNMATCHED, digest)):
            return "duplicate"
        case = case or self._case(connection, message, arrived.by_token)
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
        return self._record_alone(connection, self._arrived(message, by_token), cases[0])

    def _record_portion(self, connection: Connection, message: ReturnedMessage, case: _Case, number: int) -> Outcome:
        """Record some further parts of a report, if they were not recorded before."""
        by_token = case.match.send if case.match.by == "token" else None
        digest = hashlib.sha256(_digest(message, by_token, self.matcher) + number.to_bytes(4, "big")).digest()
        digest = digest[:DIGEST_OCTETS]
        if not seen.add(connection, message.route.send, digest, message.at):
            return "duplicate"
        if not self._write(connection, [(message, case)])[0]:
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
        return self._outcome(connection, message, case, is_written=self._write(connection, [(message, case)])[0])

    def _outcome(self, connection: Connection, message: ReturnedMessage, case: _Case, *, is_written: bool) -> Outcome:
        """What came of a message whose parts are written, or only counted. Postmaster gets what matches nothing."""
        if case.parts and not is_written:
            return "surplus"
        if case.is_matched:
            return "recorded"
        self._forward(connection, message, None)
        return "forwarded"

    def _write(self, connection: Connection, cases: Sequence[tuple[ReturnedMessage, _Case]]) -> list[bool]:
        """Write the facts of the parts of some messages; for each message False if all are only counted."""
        written = [False] * len(cases)
        claims = list[tuple[int, Claim]]()
        for number, (message, case) in enumerate(cases):
            for part in case.parts:
                if part.address_id is None or part.key is None:
                    written[number] |= self._write_of_nobody(connection, message, case.match, part)
                else:
                    address = Address(part.address_id, part.key)
                    claims.append((number, self._claim(message, case.match, part, address)))
        judged = self._judge.judge(connection, [claim for _, claim in claims])
        for (number, _), is_written in zip(claims, judged, strict=True):
            written[number] |= is_written
        return written

    @property
    def _judge(self) -> Judge:
        return Judge(self.ledger, self.storms, self.resends, self.matcher.key)

    def _claim(self, message: ReturnedMessage, match: Match, one: AttributedPart, address: Address) -> Claim:
        proof = partial(self.matcher.proof_of, match=match, one=one) if one.conflict is not None and one.part else None
        return Claim(
            address=address,
            new=self._fact(message, match, one),
            send=match.send,
            names=names_in([one.part]),
            conflict=self.matcher.key(one.conflict) if one.conflict else None,
            prove=proof,
            dated=message.dated,
        )

    def _write_of_nobody(
        self, connection: Connection, message: ReturnedMessage, match: Match, one: AttributedPart
    ) -> bool:
        """Write the fact of a part that is about no recorded recipient; False if it is only counted."""
        new = self._fact(message, match, one)
        if surplus.is_one(connection, new, len(match.send.recipients) if match.send else 1):
            surplus.add(connection, new)
            return False
        facts.write(connection, new)
        return True

    def _fact(self, message: ReturnedMessage, match: Match, one: AttributedPart) -> NewFact:
        report, part, send = message.report, one.part, match.send
        assert report is not None, "what could not be read has no parts"
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

    def _resent(self, send: Send | None) -> dict[str, int]:
        """Which resend came back, if it was one."""
        if not send or not send.attempt:
            return {}
        return {"resend": send.attempt, "of": max(send.attempt, self.resends.total(send.stream) or 0)}

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


def _apart(arrived: Sequence[_Arrived]) -> Iterator[list[_Arrived]]:
    """Neighbours that can be recorded together: no message twice, for the second is a duplicate of the first."""
    some, taken = list[_Arrived](), set[tuple[int, bytes]]()
    for one in arrived:
        if some and (one.identity in taken or not (one.is_plain and some[0].is_plain)):
            yield some
            some, taken = [], set()
        some.append(one)
        taken.add(one.identity)
    if some:
        yield some


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
