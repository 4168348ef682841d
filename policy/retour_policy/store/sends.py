"""Sends: the record of each message that went out, made before it may go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    CompoundSelect,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)

from retour_policy.core.proof import COPIED
from retour_policy.sanitize import clean, clean_values
from retour_policy.store import addresses, earlier_tries, schema
from retour_policy.store.earlier_tries import MAX_RETRY_MS, UNHEARD, Try
from retour_policy.store.upsert import ignoring
from retour_policy.tokens.token import first_id, id_time

WITHHELD, WAITING = "withheld", "waiting"
"""Why a recipient stands apart, besides `UNHEARD`: got nothing; or others of the message are not written yet, and may
never be. For none of them can it be a good send.
"""
MAX_RECIPIENTS_SHOWN = 32_767  # as many as the column can say
MAX_ID_DRAWS = 5  # tries for a free id; with 22 random bits per millisecond the second one nearly always is
_FIND = select(schema.send).where(schema.send.c.id.in_(bindparam("ids", expanding=True)))
_RECIPIENTS = (
    select(schema.send_recipient.c.send_id, schema.address.c.id, schema.address.c.key, schema.address.c.text)
    .join(schema.send_recipient, schema.send_recipient.c.address_id == schema.address.c.id)
    .where(schema.send_recipient.c.send_id.in_(bindparam("ids", expanding=True)))
)
_APART = (
    select(
        schema.recipient_apart.c.send_id,
        schema.address.c.id,
        schema.address.c.key,
        schema.address.c.text,
        schema.recipient_apart.c.why,
    )
    .join(schema.recipient_apart, schema.recipient_apart.c.address_id == schema.address.c.id)
    .where(schema.recipient_apart.c.send_id.in_(bindparam("ids", expanding=True)))
)
_SENT_SINCE = (
    select(schema.send_recipient.c.send_id)
    .join(schema.send, schema.send.c.id == schema.send_recipient.c.send_id)
    .where(
        schema.send_recipient.c.address_id == bindparam("address"),
        schema.send_recipient.c.send_id >= bindparam("first"),
        schema.send.c.stream == bindparam("in_stream"),
    )
    .limit(1)
)
_INSERT_RECIPIENT = insert(schema.send_recipient)
_TO_ADDRESSES = (
    select(schema.send_recipient.c.address_id, schema.send_recipient.c.send_id)
    .where(schema.send_recipient.c.address_id.in_(bindparam("numbers", expanding=True)))
    .order_by(schema.send_recipient.c.address_id, schema.send_recipient.c.send_id)
)


_FAILED = exists().where(
    schema.fact.c.send_id == schema.send_recipient.c.send_id,
    schema.fact.c.address_id == schema.send_recipient.c.address_id,
    schema.fact.c.action == "failed",
    or_(schema.fact.c.proof.is_(None), schema.fact.c.proof != COPIED),  # the copy of somebody else failed
)
_UNFAILED = select(schema.send_recipient.c.send_id).where(
    schema.send_recipient.c.address_id == bindparam("address"),
    schema.send_recipient.c.send_id >= bindparam("first"),
    schema.send_recipient.c.send_id < bindparam("end"),
    schema.send_recipient.c.send_id != bindparam("but"),
    ~_FAILED,
)
_LATEST_UNFAILED = _UNFAILED.order_by(schema.send_recipient.c.send_id.desc()).limit(bindparam("limit"))
_FIRST_UNFAILED = _UNFAILED.order_by(schema.send_recipient.c.send_id).limit(1)


def read_times(connection: Connection, numbers: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
    """The sends to some addresses that may have arrived, by the addresses' numbers: id and time, in order.

    Those who were withheld, or of whom no report comes, stand in another table: such a send is never good.
    """
    made: dict[int, list[tuple[int, int]]] = {number: [] for number in numbers}
    if numbers:
        for number, send in connection.execute(_TO_ADDRESSES, {"numbers": numbers}):
            made[number].append((send, id_time(send)))
    return made


def read_unfailed(
    connection: Connection, address_id: int, since: int, until: int, limit: int, but: int = 0
) -> list[tuple[int, int]]:
    """The latest sends to an address made after `since` and not after `until` that did not fail.

    Id and time (milliseconds), in order; at most `limit`, and without the send `but`.
    """
    values = _unfailed(address_id, since, until, but)
    latest = connection.scalars(_LATEST_UNFAILED, values | {"limit": limit})
    return [(send, id_time(send)) for send in reversed(latest.all())]


def find_first_unfailed(connection: Connection, address_id: int, since: int, until: int, but: int = 0) -> int | None:
    """When the first of these was made; None if there are none."""
    found = connection.scalar(_FIRST_UNFAILED, _unfailed(address_id, since, until, but))
    return None if found is None else id_time(found)


def _unfailed(address_id: int, since: int, until: int, but: int) -> dict[str, int]:
    """The parameters of `_UNFAILED`."""
    return {"address": address_id, "first": first_id(since + 1), "end": first_id(until + 1), "but": but}


def was_sent_since(connection: Connection, address_id: int, stream: str, since: int) -> bool:
    """Whether a message of a stream went to an address after `since` (milliseconds)."""
    names = {"address": address_id, "first": first_id(since), "in_stream": stream}
    return connection.scalar(_SENT_SINCE, names) is not None


@dataclass(frozen=True, slots=True)
class NewSend:
    """A message about to go out."""

    stream: str
    sender: str
    """The envelope sender before the stamp, without <>."""
    recipients: tuple[str, ...]
    withheld: tuple[str, ...] = ()
    """Further recipients of the message, who do not get it."""
    unheard: frozenset[str] = frozenset()
    """Those of the recipients of whom no report comes if it fails."""
    message_id: str | None = None
    tag: str | None = None
    queue_id: str | None = None
    spool: str | None = None
    """The file with a copy to send again."""
    is_subscribed: bool = False
    """Its recipient, if it is one, can leave the stream by a link of their own."""
    judged_after: int = MAX_RETRY_MS
    """When a send counts as good (milliseconds): an earlier one is not set apart any more then."""


@dataclass(frozen=True, slots=True)
class Send:
    """A message that went out, and the numbers of the addresses that it went to."""

    id: int
    stream: str
    tag: str | None
    recipients: dict[int, bytes]
    """Address number to address key."""
    texts: dict[int, str | None] = field(default_factory=dict)
    """Address number to the address; None: erased."""
    withheld: frozenset[bytes] = frozenset()
    """The keys of further recipients, who did not get it."""
    sender: str = ""
    message_id: str | None = None
    resend_of: int | None = None
    attempt: int = 0
    spool: str | None = None
    people: int = 0
    """How many recipients were recorded; a purge may have deleted some of them since."""

    @property
    def is_shared(self) -> bool:
        """Whether its token is one that several people have."""
        return max(self.people, len(self.recipients)) > 1

    @property
    def first(self) -> int:
        """The send that this one repeats, or itself: what happens to either counts for that one."""
        return self.resend_of or self.id


class IdTaken(Exception):
    """Of several sends that were written together one drew an id that is taken; written singly, it draws another."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """The numbers of the addresses that a message goes to, and of those apart, with why."""

    sent: set[int]
    apart: dict[int, str]

    @property
    def count(self) -> int:
        """How many recipients the send has."""
        return len(self.sent) + sum(why == UNHEARD for why in self.apart.values())


def record(connection: Connection, secret: bytes, new: NewSend, draw: Callable[[], int]) -> int:
    """Write the send and its recipients, also those apart; its id. If an id is taken, another is drawn."""
    return record_many(connection, secret, [new], draw)[0]


def record_many(connection: Connection, secret: bytes, news: Sequence[NewSend], draw: Callable[[], int]) -> list[int]:
    """Write some sends as if one after the other, each statement once; their ids. Raises `IdTaken`."""
    parts = _parts_of(connection, secret, news)
    rows = [_row(new, one.count) for new, one in zip(news, parts, strict=True)]
    numbers = _insert_with_free_ids(connection, rows, draw)
    tries = [_try(*one) for one in zip(numbers, news, parts, strict=True)]
    earlier_tries.set_apart(connection, tries)
    again = earlier_tries.repeated(tries)
    for number, one in zip(numbers, parts, strict=True):
        put_off = one.sent & again.get(number, set())
        one.sent.difference_update(put_off)
        one.apart.update(dict.fromkeys(put_off, UNHEARD))
    sent = [{"send_id": n, "address_id": to} for n, one in zip(numbers, parts, strict=True) for to in sorted(one.sent)]
    if sent:
        connection.execute(_INSERT_RECIPIENT, sent)
    _write_apart(connection, dict(zip(numbers, (one.apart for one in parts), strict=True)))
    return numbers


def begin(connection: Connection, new: NewSend, draw: Callable[[], int]) -> int:
    """Write the send without its recipients, of whom there are very many; its id."""
    return _insert_with_free_ids(connection, [_row(new, 0)], draw)[0]


def add_portion(connection: Connection, secret: bytes, number: int, part: NewSend) -> None:
    """Write some recipients of a send with very many, who wait for `complete`: if that never comes, nobody got it."""
    (one,) = _parts_of(connection, secret, [part])
    earlier_tries.set_apart(connection, [_try(number, part, one)])
    _write_apart(connection, {number: dict.fromkeys(one.sent, WAITING) | one.apart})


def _row(new: NewSend, count: int) -> dict[str, object]:
    row = {
        "stream": new.stream,
        "sender": new.sender,
        "message_id": new.message_id,
        "tag": new.tag,
        "queue_id": new.queue_id,
        "spool": new.spool,
    }
    return clean_values(row) | {"recipients": min(count, MAX_RECIPIENTS_SHOWN)}


def _try(number: int, new: NewSend, parts: _Parts) -> Try:
    message_id = clean(new.message_id) if new.message_id else None
    return Try(number, new.stream, message_id, parts.sent | parts.apart.keys(), new.judged_after)


def complete(connection: Connection, number: int) -> None:
    """All recipients of a send are written: those who wait are its recipients now."""
    apart = schema.recipient_apart
    waiting = and_(apart.c.send_id == number, apart.c.why == WAITING)
    moved = select(apart.c.send_id, apart.c.address_id).where(waiting)
    heard = connection.execute(_INSERT_RECIPIENT.from_select(["send_id", "address_id"], moved)).rowcount
    connection.execute(delete(apart).where(waiting))
    of_send = and_(apart.c.send_id == number, apart.c.why == UNHEARD)
    unheard = connection.scalar(select(func.count()).select_from(apart).where(of_send)) or 0
    shown = {"recipients": min(heard + unheard, MAX_RECIPIENTS_SHOWN)}
    connection.execute(update(schema.send).where(schema.send.c.id == number).values(shown))


def _parts_of(connection: Connection, secret: bytes, news: Sequence[NewSend]) -> list[_Parts]:
    """Who gets each message, and who stands apart, as numbers of addresses; new addresses get one."""
    texts = [text for new in news for text in (*new.recipients, *new.withheld)]
    numbers = addresses.ensure(connection, secret, texts)
    return [_split(new, numbers) for new in news]


def _split(new: NewSend, numbers: Mapping[str, int]) -> _Parts:
    unheard = {numbers[one]: UNHEARD for one in new.recipients if one in new.unheard}
    sent = {numbers[one] for one in new.recipients} - unheard.keys()
    withheld = {to: WITHHELD for to in map(numbers.__getitem__, new.withheld) if to not in sent}
    return _Parts(sent, withheld | unheard)


def _write_apart(connection: Connection, apart: Mapping[int, Mapping[int, str]]) -> None:
    """Write who stands apart, by sends: addresses and why."""
    rows = [{"send_id": send, "address_id": to, "why": of[to]} for send, of in apart.items() for to in sorted(of)]
    if rows:
        connection.execute(ignoring(connection, schema.recipient_apart), rows)


def record_resend(connection: Connection, send: Send, number: int) -> bool:
    """Write the next resend of a message under the id `number`; False if another report has led to it before.

    It has no recipients of its own, so it is not a good send for anybody.
    """
    row = {
        "stream": send.stream,
        "sender": send.sender,
        "message_id": send.message_id,
        "tag": send.tag,
        "recipients": 1,
        "resend_of": send.first,
        "attempt": send.attempt + 1,
        "spool": send.spool,
    }
    return _insert(connection, row, number)


def remove(connection: Connection, number: int) -> None:
    """Remove a send: its message did not go out."""
    for table in (schema.send_recipient, schema.recipient_apart):
        connection.execute(delete(table).where(table.c.send_id == number))
    connection.execute(delete(schema.send).where(schema.send.c.id == number))


def _insert_with_free_ids(
    connection: Connection, rows: Sequence[Mapping[str, object]], draw: Callable[[], int]
) -> list[int]:
    """The ids of these, none of which there was before. Of several, `IdTaken` if one was."""
    if len(rows) == 1:
        return [_insert_with_free_id(connection, rows[0], draw)]
    numbers = [draw() for _ in rows]
    numbered = [{"id": number, **row} for number, row in zip(numbers, rows, strict=True)]
    if connection.execute(ignoring(connection, schema.send), numbered).rowcount != len(rows):
        raise IdTaken
    return numbers


def _insert_with_free_id(connection: Connection, row: Mapping[str, object], draw: Callable[[], int]) -> int:
    for _ in range(MAX_ID_DRAWS):
        number = draw()
        if _insert(connection, row, number):
            return number
    raise RuntimeError(f"{MAX_ID_DRAWS} ids drawn, all taken: has the clock stopped?")


def _insert(connection: Connection, row: Mapping[str, object], number: int) -> bool:
    """Whether there was no such send before."""
    return connection.execute(ignoring(connection, schema.send), {"id": number, **row}).rowcount == 1


def find(connection: Connection, number: int) -> Send | None:
    """The send of that id, if the store has it."""
    return read(connection, [number]).get(number)


def read(connection: Connection, numbers: Collection[int]) -> dict[int, Send]:
    """Those of some hundred sends that the store has, by their ids."""
    if not numbers:
        return {}
    return _with_recipients(connection, connection.execute(_FIND, {"ids": sorted(numbers)}).all())


@dataclass(frozen=True, slots=True)
class MessageIdQuery:
    """Which send is looked for by its Message-ID."""

    message_ids: Sequence[str]
    keys: Sequence[bytes]
    """Of recipients; one of them it must have gone to."""
    streams: Sequence[str]
    since: int
    """When it was made; milliseconds."""
    until: int


def find_by_message_id(connection: Connection, wanted: MessageIdQuery) -> Send | None:
    """The latest send that is wanted."""
    if not (wanted.message_ids and wanted.keys and wanted.streams):
        return None
    sent = schema.send.c
    query = (
        select(schema.send)
        .join(schema.send_recipient, schema.send_recipient.c.send_id == sent.id)
        .join(schema.address, schema.address.c.id == schema.send_recipient.c.address_id)
        .where(sent.message_id.in_(wanted.message_ids), schema.address.c.key.in_(wanted.keys))
        .where(sent.stream.in_(wanted.streams))
        .where(sent.id >= first_id(wanted.since), sent.id < first_id(wanted.until + 1))
        .order_by(sent.id.desc())
        .limit(1)
    )
    found = connection.execute(query).all()
    return next(iter(_with_recipients(connection, found).values()), None)


def read_spool_names(connection: Connection, names: Sequence[str]) -> set[str]:
    """Those of a few hundred copies that a send still refers to."""
    return set(connection.scalars(select(schema.send.c.spool).where(schema.send.c.spool.in_(names))))


def _with_recipients(connection: Connection, rows: Sequence[Any]) -> dict[int, Send]:
    firsts = sorted({row.resend_of or row.id for row in rows})
    if not firsts:
        return {}
    sent, apart = defaultdict[int, list[Any]](list), defaultdict[int, list[Any]](list)
    for one in connection.execute(_RECIPIENTS, {"ids": firsts}):
        sent[one.send_id].append(one)
    for other in connection.execute(_APART, {"ids": firsts}):
        apart[other.send_id].append(other)
    return {row.id: _send(row, sent[row.resend_of or row.id], apart[row.resend_of or row.id]) for row in rows}


def _send(row: Any, sent: Sequence[Any], apart: Sequence[Any]) -> Send:
    heard = [*sent, *(one for one in apart if one.why == UNHEARD)]
    names = ("id", "stream", "tag", "sender", "message_id", "resend_of", "attempt", "spool")
    return Send(
        recipients={one.id: bytes(one.key) for one in heard},
        texts={one.id: one.text for one in heard},
        withheld=frozenset(bytes(one.key) for one in apart if one.why == WITHHELD),
        people=row.recipients,
        **{name: getattr(row, name) for name in names},
    )


def count_to(connection: Connection, number: int) -> tuple[int, int | None]:
    """How many sends went to the address with that number, and the id of the last one."""
    got = got_by(number).subquery()
    count, last = connection.execute(select(func.count(), func.max(got.c.send_id))).one()
    return count, last


def got_by(number: int) -> CompoundSelect[tuple[int]]:
    """A query for the ids of the sends that the address with that number got."""
    sent, apart = schema.send_recipient.c, schema.recipient_apart.c
    heard = select(sent.send_id).where(sent.address_id == number)
    return union_all(heard, select(apart.send_id).where(apart.address_id == number, apart.why == UNHEARD))


def read_times_and_streams(connection: Connection, number: int) -> list[tuple[int, str]]:
    """When something was sent to the address with that number (milliseconds since 1970), and of which stream."""
    part, send = schema.send_recipient.c, schema.send.c
    query = select(send.id, send.stream).join(schema.send_recipient, part.send_id == send.id)
    rows = connection.execute(query.where(part.address_id == number).order_by(part.send_id))
    return [(id_time(send_id), stream) for send_id, stream in rows]
