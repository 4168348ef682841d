"""Record: writes a returned message and all that follows from it, in one transaction, once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import Connection, select

from retour_bounces import RecipientReport, Report
from retour_policy.address import address_key, is_address, normalise
from retour_policy.core.erased import kept_of_forgotten
from retour_policy.core.fold import Account
from retour_policy.core.hook_events import Data, Event
from retour_policy.ledger.accounts import lock
from retour_policy.ledger.ledger import Ledger
from retour_policy.ledger.storms import Storms, revive
from retour_policy.messages.attribution import AttributedPart, Proof, attribute, parts_of
from retour_policy.messages.router import Route
from retour_policy.outbox import queue
from retour_policy.outbox.resends import Resends, fails_anew
from retour_policy.sanitize import clean_values
from retour_policy.store import addresses, facts, schema, sends
from retour_policy.store.addresses import Address
from retour_policy.store.facts import NewFact
from retour_policy.store.outbox import NewItem
from retour_policy.store.sends import Send
from retour_policy.store.upsert import ignoring
from retour_policy.tokens.token import id_time

Outcome = Literal["recorded", "duplicate", "forwarded", "unmatched"]
DIGEST_OCTETS = 16
MOST_ALIKE = 50  # parts of one report about the same address, or about nobody known, that become facts
MOST_LOOKED_UP = 20  # recipients of an unsigned report that are looked for
UNREAD_HEAD = 16_384  # octets kept of a report that could not be read or recorded


@dataclass(frozen=True, slots=True)
class ReturnedMessage:
    """A returned message for one of our addresses."""

    at: int
    route: Route
    recipient: str
    """The address of ours that it came to, without <>."""
    sender: str
    """Its envelope sender, without <>."""
    raw: bytes
    """What was kept of it."""
    identity: bytes
    """Hash of what makes it this message and no other, whatever address it came to."""
    report: Report | None
    """None: reading or recording it failed."""
    truncated: bool = False
    dated: bool = False
    """`at` is the message's own date: it is old mail, read in afterwards."""


@dataclass(frozen=True)
class ReturnRecorder:
    """What recording needs to know; all but the secret changes with the configuration."""

    secret: bytes
    ledger: Ledger
    storms: Storms
    postmaster: str
    reference: Callable[[str], int | None]
    """Reads the value of a Retour-Ref field: the send id where it is ours."""
    resends: Resends = field(default_factory=Resends)
    looped: Callable[[bytes], bool] = lambda raw: False
    """Whether a message is one of our own forwards, come back."""

    def record(self, connection: Connection, arrival: ReturnedMessage) -> Outcome:
        """Write `arrival` once; what became of it."""
        sent = sends.find(connection, arrival.route.send) if arrival.route.send is not None else None
        if not self._first_time(connection, arrival, sent):
            return "duplicate"
        send, proof = self._send(connection, arrival, sent)
        if arrival.report is None:
            return self._unread(connection, arrival, send)
        found = self._attributed(connection, arrival, arrival.report, send)
        found.sort(key=lambda one: one.address_id or 0)  # their rows are locked in this order by all hosts
        for one in found:
            self._fact(connection, arrival, arrival.report, send, proof, one)
        if not self._matched(arrival, arrival.report, send, found):
            if arrival.dated:
                return "unmatched"
            self._forward(connection, arrival, None)
            return "forwarded"
        return "recorded"

    def _first_time(self, connection: Connection, arrival: ReturnedMessage, sent: Send | None) -> bool:
        """Whether this message came back to this send, or to this address of ours, for the first time.

        The recipient that XVERP names makes another arrival only where he is on record: with made-up ones anybody
        who has a token could have one message kept a thousand times.
        """
        named = self._key(arrival.route.named) if arrival.route.named else b""
        if arrival.route.send is None:
            named = normalise(arrival.recipient).encode("utf-8", "surrogatepass")
        elif sent is None or named not in sent.recipients.values():
            named = b""
        digest = hashlib.sha256(named + b"\0" + arrival.identity).digest()[:DIGEST_OCTETS]
        row = {"send_id": arrival.route.send or 0, "digest": digest, "at": arrival.at}
        return connection.execute(ignoring(connection, schema.seen), row).rowcount == 1

    def _send(self, connection: Connection, arrival: ReturnedMessage, sent: Send | None) -> tuple[Send | None, Proof]:
        """The send that came back, by the token, the reference we stamped, or the Message-ID and a recipient."""
        if arrival.route.send is not None:
            return sent, "shared" if sent and len(sent.recipients) > 1 else "signed"
        send = self._corroborated(connection, arrival.report) if arrival.report else None
        if send is None:
            return None, "unsigned"
        return send, "shared" if len(send.recipients) > 1 else "corroborated"

    def _corroborated(self, connection: Connection, report: Report) -> Send | None:
        number = self.reference(report.original.retour_ref) if report.original.retour_ref else None
        send = sends.find(connection, number) if number is not None else None
        if send or not report.original.message_id:
            return send
        parts = report.reports[:MOST_LOOKED_UP]
        named = [text for part in parts for text in (part.original_recipient, part.recipient)] or [report.recipient]
        for text in filter(None, named):
            send = sends.find_by_message_id(connection, report.original.message_id, self._key(text))
            if send:
                return send
        return None

    def _attributed(
        self, connection: Connection, arrival: ReturnedMessage, report: Report, send: Send | None
    ) -> list[AttributedPart]:
        if send:
            return _bounded(attribute(report, send.recipients, arrival.route.named, self._key))
        if arrival.route.send is not None:  # the token is ours and its record is gone: counted for nobody
            return _bounded([AttributedPart(part, None) for part in parts_of(report)])
        named = [text for part in report.reports for text in (part.original_recipient, part.recipient) if text]
        if arrival.dated and self._trusts_unsigned(arrival):  # the postmaster's own old bounces tell of new addresses
            addresses.ensure(connection, self.secret, filter(is_address, named[:MOST_LOOKED_UP]))
        known = addresses.find(connection, map(self._key, named[:MOST_LOOKED_UP]))
        return _bounded(attribute(report, {n: key for key, n in known.items()}, None, self._key, guess=False))

    def _matched(
        self, arrival: ReturnedMessage, report: Report, send: Send | None, found: list[AttributedPart]
    ) -> bool:
        """Whether it is known what this is and whom it is about; if not, postmaster gets it."""
        if report.kind == "not-a-report" or arrival.route.kind == "role":
            return False
        if send is None and arrival.route.send is None:  # unsigned: only where the postmaster trusts such reports
            return self._trusts_unsigned(arrival) and any(one.address_id is not None for one in found)
        return send is None or any(one.address_id is not None for one in found)

    def _trusts_unsigned(self, arrival: ReturnedMessage) -> bool:
        return self.ledger.policy.ground(arrival.route.stream).rules.count_unsigned

    def _key(self, text: str) -> bytes:
        return address_key(self.secret, text)

    def _fact(
        self,
        connection: Connection,
        arrival: ReturnedMessage,
        report: Report,
        send: Send | None,
        proof: Proof,
        one: AttributedPart,
    ) -> None:
        new = self._told(arrival, report, send, proof, one)
        if one.address_id is None or one.key is None:
            facts.write(connection, new)
        else:
            self._judge(connection, arrival, send, Address(one.address_id, one.key), new, _names(one.part))

    def _told(
        self, arrival: ReturnedMessage, report: Report, send: Send | None, proof: Proof, one: AttributedPart
    ) -> NewFact:
        part = one.part
        return NewFact(
            at=arrival.at,
            kind=_kind_of(report, part),
            address_id=one.address_id,
            send_id=send.first if send else arrival.route.send,
            stream=send.stream if send else arrival.route.stream,
            action=part.action if part else None,
            type=part.type if part else None,
            status=part.status if part else None,
            reason=(part.reason if part else report.reason),
            blame=part.blame if part else None,
            proof=proof,
            detail=clean_values(_detail(arrival, report, send, one) | self._resent(send)),
        )

    def _judge(
        self,
        connection: Connection,
        arrival: ReturnedMessage,
        send: Send | None,
        address: Address,
        new: NewFact,
        names: Sequence[str],
    ) -> None:
        """Write a fact about an address with what follows from it; `names` is how the report calls the address."""
        account = lock(connection, address)  # first: another host may record another report of this send just now
        before = facts.judged_of_send(connection, send.first, address.id, new.kind) if send else []
        first = not any(self.ledger.counts(connection, one) for one in before)
        text = _text_of(connection, address)  # as it is now: who was waited for may have erased it
        if text is None:  # forgotten, and it stays so: the report's own words say to which side it went
            new = replace(new, detail=kept_of_forgotten(new.detail))
            send = replace(send, message_id=None, tag=None, spool=None) if send else None
            text = next((name for name in names if self._key(name) == address.key), None)
        if send and first and not arrival.dated and self._may_be_storm(new):
            new, account = self._in_storm(connection, address, account, text, send, new)
        news = not before or (first and self.ledger.counts(connection, new))
        news = news or bool(send and fails_anew(connection, send, new))
        self.ledger.write(connection, address, new, account, first=first, news=news)
        if send and not arrival.dated:
            self.resends.consider(connection, send, new)

    def _resent(self, send: Send | None) -> dict[str, int]:
        """Which resend came back, if it was one."""
        if not send or not send.attempt:
            return {}
        return {"resend": send.attempt, "of": max(send.attempt, self.resends.total(send.stream) or 0)}

    def _may_be_storm(self, new: NewFact) -> bool:
        heeded = self.ledger.policy.ground(new.stream).rules.heed_blame
        return heeded and (new.kind, new.type, new.blame) == ("bounce", "hard", "recipient")

    def _in_storm(
        self, connection: Connection, address: Address, account: Account, text: str | None, send: Send, new: NewFact
    ) -> tuple[NewFact, Account]:
        """The fact, marked where a storm holds it; where none does, what an older storm held may count now."""
        if text is None:
            storm = self.storms.open_in(connection, send.stream)
        else:
            storm = self.storms.failure(connection, send.stream, text, id_time(send.first), new.at)
        if storm is not None:
            return replace(new, detail={**new.detail, "storm": storm}), account
        settled = self.storms.settled(connection, account.state.held, new.at)
        if settled:
            revive(connection, self.ledger, address, settled, send.stream, new.at)
            account = lock(connection, address)
        return new, account

    def _unread(self, connection: Connection, arrival: ReturnedMessage, send: Send | None) -> Outcome:
        """Keep what cannot be read or recorded, by its token, and let postmaster see it."""
        only = next(iter(send.recipients)) if send and len(send.recipients) == 1 else None
        stream = send.stream if send else arrival.route.stream
        detail = clean_values({"came_to": arrival.recipient, "from": arrival.sender})
        forgotten = send is not None and only is not None and _is_forgotten(connection, send, only)
        new = NewFact(arrival.at, "unread", only, arrival.route.send, stream, detail={} if forgotten else detail)
        number = facts.write(connection, new)
        if not forgotten:
            row = {"fact_id": number, "head": arrival.raw[:UNREAD_HEAD]}
            connection.execute(schema.unread.insert().values(row))
        self._forward(connection, arrival, number)
        return "forwarded"

    def _forward(self, connection: Connection, arrival: ReturnedMessage, fact_id: int | None) -> None:
        """Let postmaster see it. What comes back from there is kept as a dead letter, or it would go round."""
        error = "came back to us: does lmtpd.postmaster lead into a bounce domain?" if self.looped(arrival.raw) else ""
        new = NewItem(arrival.at, "forward", queue.FORWARD, self.postmaster, arrival.raw, fact_id=fact_id, error=error)
        queue.put(connection, new)
        kind = arrival.report.kind if arrival.report else "unread"
        texts = clean_values({"delivered_to": arrival.recipient, "sender": arrival.sender})
        data = Data(stream=arrival.route.stream, kind=kind, **texts)
        self.ledger.announcer.tell(connection, Event("unmatched", arrival.at, data), fact_id)


def _names(part: RecipientReport | None) -> list[str]:
    return [name for name in (part.original_recipient, part.recipient) if name] if part else []


def _is_forgotten(connection: Connection, send: Send, number: int) -> bool:
    """Whether a recipient was erased; until this transaction ends he is not."""
    address = Address(number, send.recipients[number])
    lock(connection, address)
    return _text_of(connection, address) is None


def _text_of(connection: Connection, address: Address) -> str | None:
    return connection.scalar(select(schema.address.c.text).where(schema.address.c.id == address.id))


def _bounded(found: list[AttributedPart]) -> list[AttributedPart]:
    """The first `MOST_ALIKE` of each address, failures before all else: one report is not to fill the store."""
    if len(found) <= MOST_ALIKE:
        return found
    kept: dict[int | None, list[AttributedPart]] = {}
    for one in sorted(found, key=lambda one: one.part is None or one.part.action != "failed"):
        alike = kept.setdefault(one.address_id, [])
        if len(alike) < MOST_ALIKE:
            alike.append(one)
    return [one for alike in kept.values() for one in alike]


def _kind_of(report: Report, part: RecipientReport | None) -> str:
    """The kind of this part: a bounce with mixed fates holds delays and deliveries too."""
    if part is None:
        return report.kind
    return "bounce" if part.action == "failed" else part.action


def _detail(arrival: ReturnedMessage, report: Report, send: Send | None, one: AttributedPart) -> dict[str, Any]:
    part = one.part
    values: dict[str, Any] = {
        "came_to": arrival.recipient,
        "from": arrival.sender,
        "recipient": part.recipient if part else report.recipient,
        "original_recipient": part.original_recipient if part else None,
        "status_source": part.status_source if part else None,
        "rule": part.rule if part else None,
        "diagnostic": part.diagnostic if part else None,
        "evidence": part.evidence if part else None,
        "contradiction": part.contradiction if part else None,
        "conflict": one.conflict,
        "tag": send.tag if send else None,
        "truncated": arrival.truncated or report.truncated,
        "dated": arrival.dated,
        "lost_send": arrival.route.send is not None and send is None,
    }
    return {name: value for name, value in values.items() if value}
