"""Schema: the tables of the store, facts and what derives from them.

Times are milliseconds since 1970-01-01 UTC. `REVISION` is what the migrations lead to.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

REVISION = "0010"
VERSION_TABLE = "retour_schema"
COPYING = "copying"  # stands for the revision while another store is copied into this one

metadata = MetaData()
AutoIncrement = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only in a column of type INTEGER


def _only_where(rows: ColumnElement[bool]) -> dict[str, Any]:
    """The options that make an index a partial one, of these rows alone."""
    return {"sqlite_where": rows, "postgresql_where": rows}


address = Table(
    "address",
    metadata,
    Column("id", AutoIncrement, primary_key=True),
    Column("key", LargeBinary(16), nullable=False, unique=True, comment="HMAC of the normalised address"),
    Column("text", String(320), comment="NULL once erased"),
)

send = Table(
    "send",
    metadata,
    Column("id", AutoIncrement, primary_key=True, autoincrement=False, comment="the token's id; it contains the time"),
    Column("stream", String(64), nullable=False),
    Column("sender", Text, nullable=False, comment="envelope sender before the stamp"),
    Column("message_id", Text),
    Column("tag", Text, comment="the application's own reference"),
    Column("queue_id", String(64)),
    Column("recipients", SmallInteger, nullable=False),
    Column("resend_of", BigInteger, comment="the first send, whose recipient it goes to again"),
    Column("attempt", SmallInteger, nullable=False, server_default="0", comment="0: the first; n: the nth resend"),
    Column("spool", String(64), comment="file with a copy to send again"),
    Index("send_by_message_id", "message_id"),
)
Index("send_resent", send.c.resend_of, send.c.attempt, unique=True, **_only_where(send.c.resend_of.is_not(None)))
Index("send_by_spool", send.c.spool, **_only_where(send.c.spool.is_not(None)))

send_recipient = Table(
    "send_recipient",
    metadata,
    Column("send_id", BigInteger, ForeignKey("send.id"), primary_key=True),
    Column("address_id", BigInteger, ForeignKey("address.id"), primary_key=True),
    Index("send_recipient_by_address", "address_id", "send_id"),
    sqlite_with_rowid=False,
)

recipient_apart = Table(
    "recipient_apart",
    metadata,
    Column("send_id", BigInteger, ForeignKey("send.id"), primary_key=True),
    Column("address_id", BigInteger, ForeignKey("address.id"), primary_key=True),
    Column("why", String(16), nullable=False, comment="withheld, unheard (no report comes), waiting"),
    Index("recipient_apart_by_address", "address_id", "send_id"),
    sqlite_with_rowid=False,
)

subscription = Table(
    "subscription",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False, comment="random; tokens name it"),
    Column("address_id", BigInteger, ForeignKey("address.id"), nullable=False),
    Column("stream", String(64), nullable=False),
    Column("at", BigInteger, nullable=False, comment="the month in which the latest token was made"),
    Index("subscription_by_address", "address_id", "stream", unique=True),
)

unsubscribe_counter = Table(
    "unsubscribe_counter",
    metadata,
    Column("stream", String(64), primary_key=True),
    Column("side", String(255), primary_key=True),
    Column("bucket", BigInteger, primary_key=True, comment="beginning of the five minutes in which they left"),
    Column("unsubscribed", Integer, nullable=False, comment="within minutes of the send"),
    Column("told", Integer, nullable=False, comment="1: a burst of these was told"),
    sqlite_with_rowid=False,
)

fact = Table(
    "fact",
    metadata,
    Column("id", AutoIncrement, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False, comment="a report's kind, or withheld, suppress, lift, policy"),
    Column("address_id", BigInteger, ForeignKey("address.id")),
    Column("send_id", BigInteger, comment="kept when the send is purged"),
    Column("stream", String(64)),
    Column("action", String(16)),
    Column("type", String(8)),
    Column("status", String(16)),
    Column("reason", String(32)),
    Column("blame", String(16)),
    Column("proof", String(16)),
    Column("policy_id", Integer, comment="the policy it was judged by; NULL: it does not count"),
    Column("detail", JSON, nullable=False, comment="the rest, by name"),
    Column("named_key", LargeBinary(16), comment="key of somebody else at whom it failed; NULL: nobody else is named"),
    Index("fact_by_address", "address_id", "id"),
    Index("fact_by_send", "send_id", "address_id"),
    Index("fact_by_time", "at"),
)

Index("fact_by_named", fact.c.named_key, fact.c.address_id, **_only_where(fact.c.named_key.is_not(None)))

unread = Table(
    "unread",
    metadata,
    Column("fact_id", AutoIncrement, ForeignKey("fact.id"), primary_key=True, autoincrement=False),
    Column("head", LargeBinary, nullable=False, comment="the report's first octets, as they came"),
)

seen = Table(
    "seen",
    metadata,
    Column("send_id", BigInteger, primary_key=True, comment="first, so that new rows are close together; 0: none"),
    Column("digest", LargeBinary(16), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Index("seen_by_time", "at"),
    sqlite_with_rowid=False,
)

policy = Table(
    "policy",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("hash", LargeBinary(32), nullable=False, unique=True),
    Column("at", BigInteger, nullable=False, comment="first put in force"),
    Column("content", JSON, nullable=False, comment="the whole policy, and that of each stream"),
)

address_state = Table(
    "address_state",
    metadata,
    Column("address_id", BigInteger, ForeignKey("address.id"), primary_key=True),
    Column("state", JSON, nullable=False),
    sqlite_with_rowid=False,
)

suppression = Table(
    "suppression",
    metadata,
    Column("address_key", LargeBinary(16), primary_key=True),
    Column("scope", String(64), primary_key=True, comment="* everywhere, *bulk, or a stream"),
    Column("address_id", BigInteger, ForeignKey("address.id"), nullable=False),
    Column("cause", String(32), nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, comment="NULL: for good"),
    Column(
        "tries", SmallInteger, nullable=False, server_default="0", comment="1: when it has run out, one send may try"
    ),
    Column("fact_id", BigInteger, nullable=False, server_default="0", comment="the fact that triggered it"),
    Column("note", Text, nullable=False, server_default=""),
    Index("suppression_by_address", "address_id"),
    Index("suppression_by_since", "since", "address_key", "scope"),
    sqlite_with_rowid=False,
)

storm_counter = Table(
    "storm_counter",
    metadata,
    Column("stream", String(64), primary_key=True),
    Column("side", String(255), primary_key=True),
    Column("bucket", BigInteger, primary_key=True, comment="beginning of the five minutes in which the mail was sent"),
    Column("writer", String(40), primary_key=True, comment="a process, to avoid contention on one row"),
    Column("sent", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("late", Integer, nullable=False, server_default="0", comment="failures that came then, of older mail"),
    Column("refused", Integer, nullable=False, server_default="0", comment="failures that blame the sender"),
    Column("told", Integer, nullable=False, server_default="0", comment="1: a burst of these was told"),
    sqlite_with_rowid=False,
)

recent_failure = Table(
    "recent_failure",
    metadata,
    Column("fact_id", AutoIncrement, primary_key=True, autoincrement=False),
    Column("stream", String(64), nullable=False),
    Column("side", String(255), nullable=False, comment="empty once the address is erased"),
    Column("address_id", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("recent_failure_by_side", "stream", "side", "fact_id"),
    Index("recent_failure_by_address", "address_id"),
)

storm = Table(
    "storm",
    metadata,
    Column("id", AutoIncrement, primary_key=True),
    Column("stream", String(64), nullable=False),
    Column("side", String(255), nullable=False),
    Column("opened", BigInteger, nullable=False),
    Column("closed", BigInteger),
    Column("calm_since", BigInteger),
    Column("sent", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("due", BigInteger, nullable=False, server_default="0", comment="when it is looked at next"),
    Index("storm_by_side", "stream", "side", "closed"),
)
Index("storm_open", storm.c.stream, storm.c.side, unique=True, **_only_where(storm.c.closed.is_(None)))
Index("storm_by_due", storm.c.due, **_only_where(storm.c.closed.is_(None)))

outbox = Table(
    "outbox",
    metadata,
    Column("id", AutoIncrement, primary_key=True),
    Column("uid", String(40), nullable=False, comment="the same at every try: webhook-id, Message-ID"),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False, comment="event, forward, resend"),
    Column("channel", String(80), nullable=False, comment="hook:NAME, relay:NAME, forward; one never delays another"),
    Column("ordering", BigInteger, comment="items of one channel with the same number go one after the other"),
    Column("due", BigInteger, nullable=False, comment="not before; while leased: when the lease ends"),
    Column("give_up", BigInteger, nullable=False, comment="a failure after this one is the last"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("taken_by", String(64), comment="the courier that it is leased to"),
    Column("failed", SmallInteger, nullable=False, server_default="0", comment="1: dead letter, still shown"),
    Column("error", Text, nullable=False, server_default=""),
    Column("fact_id", BigInteger),
    Column("target", Text, nullable=False, comment="an event's type, a forward's recipient, a resend's stream"),
    Column("body", LargeBinary, nullable=False),
    Index("outbox_by_due", "failed", "channel", "due"),
    Index("outbox_in_order", "channel", "ordering", "failed", "id"),
    sqlite_autoincrement=True,  # a dropped item's number is never used again: terminals and logs still name it
)

Index("outbox_by_fact", outbox.c.fact_id, **_only_where(outbox.c.fact_id.is_not(None)))
Index("outbox_by_ordering", outbox.c.ordering, **_only_where(outbox.c.ordering.is_not(None)))

key_ring = Table(
    "key_ring",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False, comment="1: there is one row"),
    Column("fingerprint", LargeBinary(16), nullable=False, comment="of the address secret"),
)

pace = Table(
    "pace",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("since", BigInteger, nullable=False, comment="beginning of the window that is counted in"),
    Column("count", Integer, nullable=False, comment="sent one by one since then"),
    Column("digest_to", BigInteger, nullable=False, comment="what waits up to this id goes into a digest"),
    sqlite_with_rowid=False,
)
