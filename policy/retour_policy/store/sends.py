"""Sends: the record of each message that went out, made before it may go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, bindparam, exists, func, insert, select, true

from retour_policy.sanitize import clean_values
from retour_policy.store import addresses, schema
from retour_policy.store.upsert import ignoring
from retour_policy.tokens.token import first_id, id_time

MAX_ID_DRAWS = 5  # tries for a free id; with 22 random bits per millisecond the second one nearly always is
_FIND = select(schema.send).where(schema.send.c.id == bindparam("id"))
_RECIPIENTS = (
    select(schema.address.c.id, schema.address.c.key, schema.address.c.text)
    .join(schema.send_recipient, schema.send_recipient.c.address_id == schema.address.c.id)
    .where(schema.send_recipient.c.send_id == bindparam("id"))
)
_INSERT_RECIPIENT = insert(schema.send_recipient)
# A send that may have reached nobody is never good. The one place where a mark on such sends is heeded.
_MAY_ARRIVE: ColumnElement[bool] = true()
_TO_ADDRESSES = (
    select(schema.send_recipient.c.address_id, schema.send_recipient.c.send_id)
    .where(schema.send_recipient.c.address_id.in_(bindparam("numbers", expanding=True)), _MAY_ARRIVE)
    .order_by(schema.send_recipient.c.address_id, schema.send_recipient.c.send_id)
)


_FAILED = exists().where(
    schema.fact.c.send_id == schema.send_recipient.c.send_id,
    schema.fact.c.address_id == schema.send_recipient.c.address_id,
    schema.fact.c.action == "failed",
)
_UNFAILED = select(schema.send_recipient.c.send_id).where(
    schema.send_recipient.c.address_id == bindparam("address"),
    schema.send_recipient.c.send_id >= bindparam("first"),
    schema.send_recipient.c.send_id < bindparam("end"),
    schema.send_recipient.c.send_id != bindparam("but"),
    _MAY_ARRIVE,
    ~_FAILED,
)
_LATEST_UNFAILED = _UNFAILED.order_by(schema.send_recipient.c.send_id.desc()).limit(bindparam("limit"))
_FIRST_UNFAILED = _UNFAILED.order_by(schema.send_recipient.c.send_id).limit(1)


def read_times(connection: Connection, numbers: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
    """The sends to some addresses that may have arrived, by the addresses' numbers: id and time, in order."""
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
    values = {"address": address_id, "first": first_id(since + 1), "end": first_id(until + 1), "but": but}
    latest = connection.scalars(_LATEST_UNFAILED, values | {"limit": limit})
    return [(send, id_time(send)) for send in reversed(latest.all())]


def find_first_unfailed(connection: Connection, address_id: int, since: int, until: int, but: int = 0) -> int | None:
    """When the first of these was made; None if there are none."""
    values = {"address": address_id, "first": first_id(since + 1), "end": first_id(until + 1), "but": but}
    found = connection.scalar(_FIRST_UNFAILED, values)
    return None if found is None else id_time(found)


@dataclass(frozen=True, slots=True)
class NewSend:
    """A message about to go out."""

    stream: str
    sender: str
    """The envelope sender before the stamp, without <>."""
    recipients: tuple[str, ...]
    message_id: str | None = None
    tag: str | None = None
    queue_id: str | None = None
    spool: str | None = None
    """The file with a copy to send again."""


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
    sender: str = ""
    message_id: str | None = None
    resend_of: int | None = None
    attempt: int = 0
    spool: str | None = None

    @property
    def first(self) -> int:
        """The send that this one repeats, or itself: what happens to either counts for that one."""
        return self.resend_of or self.id


def record(connection: Connection, secret: bytes, new: NewSend, draw: Callable[[], int]) -> int:
    """Write the send and its recipients; its id. If an id is taken, another is drawn."""
    row = {
        "stream": new.stream,
        "sender": new.sender,
        "message_id": new.message_id,
        "tag": new.tag,
        "queue_id": new.queue_id,
        "spool": new.spool,
    }
    numbers = sorted(set(addresses.ensure(connection, secret, new.recipients).values()))
    number = _insert_with_free_id(connection, clean_values(row) | {"recipients": len(numbers)}, draw)
    connection.execute(_INSERT_RECIPIENT, [{"send_id": number, "address_id": to} for to in numbers])
    return number


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


def _insert_with_free_id(connection: Connection, row: dict[str, object], draw: Callable[[], int]) -> int:
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
    found = connection.execute(_FIND, {"id": number}).first()
    return _with_recipients(connection, found) if found else None


def find_by_message_id(connection: Connection, message_id: str, key: bytes) -> Send | None:
    """The latest send with that Message-ID to the address with that key."""
    query = (
        select(schema.send)
        .join(schema.send_recipient, schema.send_recipient.c.send_id == schema.send.c.id)
        .join(schema.address, schema.address.c.id == schema.send_recipient.c.address_id)
        .where(schema.send.c.message_id == message_id, schema.address.c.key == key)
        .order_by(schema.send.c.id.desc())
        .limit(1)
    )
    found = connection.execute(query).first()
    return _with_recipients(connection, found) if found else None


def read_spool_names(connection: Connection, names: Sequence[str]) -> set[str]:
    """Those of a few hundred copies that a send still refers to."""
    return set(connection.scalars(select(schema.send.c.spool).where(schema.send.c.spool.in_(names))))


def _with_recipients(connection: Connection, row: object) -> Send:
    first = row.resend_of or row.id  # type: ignore[attr-defined]
    rows = connection.execute(_RECIPIENTS, {"id": first}).all()
    recipients, texts = {to: bytes(key) for to, key, _ in rows}, {to: text for to, _, text in rows}
    names = ("id", "stream", "tag", "sender", "message_id", "resend_of", "attempt", "spool")
    return Send(recipients=recipients, texts=texts, **{name: getattr(row, name) for name in names})


def count_to(connection: Connection, number: int) -> tuple[int, int | None]:
    """How many sends went to the address with that number, and the id of the last one."""
    sent = schema.send_recipient.c
    query = select(func.count(), func.max(sent.send_id)).where(sent.address_id == number)
    count, last = connection.execute(query).one()
    return count, last


def read_times_and_streams(connection: Connection, number: int) -> list[tuple[int, str]]:
    """When something was sent to the address with that number (milliseconds since 1970), and of which stream."""
    part, send = schema.send_recipient.c, schema.send.c
    query = select(send.id, send.stream).join(schema.send_recipient, part.send_id == send.id)
    rows = connection.execute(query.where(part.address_id == number).order_by(part.send_id))
    return [(id_time(send_id), stream) for send_id, stream in rows]
