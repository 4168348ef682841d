"""Record: writes a returned message and all that follows from it, in one transaction, once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, select, update

from retour_bounces import RecipientReport, Report
from retour_policy import facts, outbox, schema, sends, suppressions
from retour_policy.address import address_key
from retour_policy.addresses import insert_into
from retour_policy.attribute import Attributed, Proof, attribute, parts_of
from retour_policy.clean import clean, clean_values
from retour_policy.config import PolicySection
from retour_policy.decide import Class, Happening, State, Suppress, decide
from retour_policy.facts import NewFact
from retour_policy.route import Route
from retour_policy.sends import Send

Outcome = Literal["recorded", "duplicate", "forwarded"]
DIGEST_OCTETS = 16
UNREAD_HEAD = 16_384  # octets kept of a report that could not be read or recorded
MOST_ALIKE = 50  # parts of one report about the same address, or about nobody known, that become facts
MOST_LOOKED_UP = 20  # recipients of an unsigned report that are looked for together with its Message-ID

_state = schema.address_state
_OF_ADDRESS = (_state.c.address_id == bindparam("of")) & (_state.c.scope == bindparam("within"))
_STATE = select(_state.c.state).where(_OF_ADDRESS).with_for_update()
_WRITE_STATE = update(_state).where(_OF_ADDRESS).values(state=bindparam("new"))


@dataclass(frozen=True, slots=True)
class Arrival:
    """A returned message for one of our addresses."""

    at: int
    route: Route
    recipient: str
    """The address of ours that it came to, without <>."""
    sender: str
    """Its envelope sender, without <>."""
    raw: bytes
    """What was kept of it."""
    digest: bytes
    """Hash of what makes it this message and no other."""
    report: Report | None
    """None: reading or recording it failed."""
    truncated: bool = False


@dataclass(frozen=True)
class Recorder:
    """What recording needs to know. `policy` and `postmaster` change with the configuration."""

    secret: bytes
    policy: PolicySection
    postmaster: str
    reference: Callable[[str], int | None]
    """Reads the value of a Retour-Ref field: the send id where it is ours."""

    def record(self, connection: Connection, arrival: Arrival) -> Outcome:
        """Write `arrival` once; what became of it."""
        if not _first_time(connection, arrival):
            return "duplicate"
        send, proof = self._send(connection, arrival)
        if arrival.report is None:
            return self._unread(connection, arrival, send)
        found = self._attributed(arrival.report, arrival.route, send)
        for one in found:
            self._fact(connection, arrival, arrival.report, send, proof, one)
        if not _matched(arrival, arrival.report, send, found):
            outbox.put(connection, arrival.at, "forward", self.postmaster, arrival.raw, None)
            return "forwarded"
        return "recorded"

    def _send(self, connection: Connection, arrival: Arrival) -> tuple[Send | None, Proof]:
        """The send that came back, by the token, the reference we stamped, or the Message-ID and a recipient."""
        if arrival.route.send is not None:
            send = sends.find(connection, arrival.route.send)
            return send, "shared" if send and len(send.recipients) > 1 else "signed"
        send = self._corroborated(connection, arrival.report) if arrival.report else None
        return send, "corroborated" if send else "unsigned"

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

    def _attributed(self, report: Report, route: Route, send: Send | None) -> list[Attributed]:
        if send:
            return _bounded(attribute(report, send.recipients, route.named, self._key))
        return _bounded([Attributed(part, None) for part in parts_of(report)])

    def _key(self, text: str) -> bytes:
        return address_key(self.secret, text)

    def _fact(
        self, connection: Connection, arrival: Arrival, report: Report, send: Send | None, proof: Proof, one: Attributed
    ) -> None:
        part = one.part
        kind = _kind_of(report, part)
        class_ = _class_of(kind, part)
        counts = bool(class_ and send and one.address_id)
        first = counts and not facts.counted_before(connection, send.id, one.address_id, kind)  # type: ignore[union-attr,arg-type]
        new = NewFact(
            at=arrival.at,
            kind=kind,
            address_id=one.address_id,
            send_id=send.id if send else arrival.route.send,
            stream=send.stream if send else arrival.route.stream,
            action=part.action if part else None,
            type=part.type if part else None,
            status=part.status if part else None,
            reason=(part.reason if part else report.reason),
            blame=part.blame if part else None,
            proof=proof,
            detail=clean_values(_detail(arrival, report, send, one)),
        )
        number = facts.write(connection, new)
        if counts and send and one.address_id and class_:
            happening = Happening(arrival.at, class_, send.id, len(send.recipients) > 1, first)
            self._decide(connection, happening, number, send, one.address_id, _because(new))

    def _decide(
        self, connection: Connection, happening: Happening, fact: int, send: Send, address_id: int, because: str
    ) -> None:
        scope = suppressions.EVERYWHERE if self.policy.scope == "everywhere" else send.stream
        state = read_state(connection, address_id, scope)
        decision = decide(state, happening, self.policy)
        if decision.state != state:
            write_state(connection, address_id, scope, decision.state)
        if decision.suppress:
            new = _suppression(decision.suppress, scope, because)
            suppressions.put(connection, send.recipients[address_id], address_id, new, fact)

    def _unread(self, connection: Connection, arrival: Arrival, send: Send | None) -> Outcome:
        """Keep what cannot be read or recorded, by its token, and let postmaster see it."""
        only = next(iter(send.recipients)) if send and len(send.recipients) == 1 else None
        stream = send.stream if send else arrival.route.stream
        detail = clean_values({"came_to": arrival.recipient, "from": arrival.sender})
        new = NewFact(arrival.at, "unread", only, arrival.route.send, stream, detail=detail)
        number = facts.write(connection, new)
        row = {"fact_id": number, "head": arrival.raw[:UNREAD_HEAD]}
        connection.execute(schema.unread.insert().values(row))
        outbox.put(connection, arrival.at, "forward", self.postmaster, arrival.raw, number)
        return "forwarded"


def digest_of(send: int | None, recipient: str, header: bytes, body: bytes, length: int) -> bytes:
    """What tells one report from another: `header` without trace fields, and `length` for what was not kept."""
    text = b"\0".join((str(send).encode(), recipient.lower().encode("utf-8", "surrogateescape"), header))
    return hashlib.sha256(text + b"\0" + str(length).encode() + b"\0" + body).digest()[:DIGEST_OCTETS]


def read_state(connection: Connection, address_id: int, scope: str) -> State:
    """The state of an address in a scope, its row locked until the transaction ends."""
    which = {"of": address_id, "within": scope}
    found = connection.execute(_STATE, which).first()
    if found is None:
        new = insert_into(connection, _state).on_conflict_do_nothing()
        connection.execute(new, {"address_id": address_id, "scope": scope, "state": {}})
        found = connection.execute(_STATE, which).first()
    return State.from_dict(found.state) if found else State()


def write_state(connection: Connection, address_id: int, scope: str, state: State) -> None:
    """Replace the state that `read_state` gave."""
    connection.execute(_WRITE_STATE, {"of": address_id, "within": scope, "new": state.to_dict()})


def _first_time(connection: Connection, arrival: Arrival) -> bool:
    row = {"send_id": arrival.route.send or 0, "digest": arrival.digest, "at": arrival.at}
    insert = insert_into(connection, schema.seen).values(row).on_conflict_do_nothing()
    return connection.execute(insert).rowcount == 1


def _matched(arrival: Arrival, report: Report, send: Send | None, found: list[Attributed]) -> bool:
    """Whether it is known what this is and whom it is about; if not, postmaster gets it."""
    if report.kind == "not-a-report" or arrival.route.kind == "role":
        return False
    record_is_gone = arrival.route.send is not None and send is None
    return record_is_gone or any(one.address_id is not None for one in found)


def _bounded(found: list[Attributed]) -> list[Attributed]:
    """The first `MOST_ALIKE` of each address, failures before all else: one report is not to fill the store."""
    if len(found) <= MOST_ALIKE:
        return found
    kept: dict[int | None, list[Attributed]] = {}
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


def _class_of(kind: str, part: RecipientReport | None) -> Class | None:
    if kind == "autoreply":
        return "autoreply"
    if kind == "bounce" and part is not None:
        return part.type or "soft"
    return None


def _detail(arrival: Arrival, report: Report, send: Send | None, one: Attributed) -> dict[str, Any]:
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
        "lost_send": arrival.route.send is not None and send is None,
    }
    return {name: value for name, value in values.items() if value}


def _because(new: NewFact) -> str:
    return " ".join(clean(text) for text in (new.status, new.reason) if text)


def _suppression(new: Suppress, scope: str, because: str) -> suppressions.Suppression:
    return suppressions.Suppression(scope, new.cause, new.since, new.until, because)
