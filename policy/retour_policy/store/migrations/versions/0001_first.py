"""The first tables: addresses, sends, facts, and what derives from them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "address",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.LargeBinary(length=16), nullable=False, comment="HMAC of the normalised address"),
        sa.Column("text", sa.String(length=320), nullable=True, comment="NULL once forgotten"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uid", sa.String(length=40), nullable=False, comment="the same at every try: webhook-id, Message-ID"),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="event, forward, resend"),
        sa.Column(
            "channel",
            sa.String(length=80),
            nullable=False,
            comment="hook:NAME, relay:NAME, forward; one never delays another",
        ),
        sa.Column(
            "ordering",
            sa.BigInteger(),
            nullable=True,
            comment="items of one channel with the same number go one after the other",
        ),
        sa.Column("due", sa.BigInteger(), nullable=False, comment="not before; while taken: when the lease ends"),
        sa.Column("give_up", sa.BigInteger(), nullable=False, comment="a failure after this one is the last"),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("taken_by", sa.String(length=64), nullable=True, comment="the courier that has it in hand"),
        sa.Column(
            "failed", sa.SmallInteger(), server_default="0", nullable=False, comment="1: dead letter, kept to be seen"
        ),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("fact_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "target", sa.Text(), nullable=False, comment="an event's type, a forward's recipient, a resend's stream"
        ),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("outbox_by_due", "outbox", ["failed", "channel", "due"], unique=False)
    op.create_index("outbox_in_order", "outbox", ["channel", "ordering", "failed", "id"], unique=False)
    op.create_table(
        "pace",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False, comment="beginning of the window that is counted in"),
        sa.Column("count", sa.Integer(), nullable=False, comment="sent one by one since then"),
        sa.Column("digest_to", sa.BigInteger(), nullable=False, comment="what waits up to this id goes into a digest"),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "policy",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False, comment="first put in force"),
        sa.Column("content", sa.JSON(), nullable=False, comment="the whole policy, and that of each stream"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash"),
    )
    op.create_table(
        "seen",
        sa.Column(
            "send_id", sa.BigInteger(), nullable=False, comment="first, so that new rows stand together; 0: none"
        ),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("send_id", "digest"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "send",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
            comment="the token's id, which tells the time",
        ),
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False, comment="envelope sender before the stamp"),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("tag", sa.Text(), nullable=True, comment="the application's own reference"),
        sa.Column("queue_id", sa.String(length=64), nullable=True),
        sa.Column("recipients", sa.SmallInteger(), nullable=False),
        sa.Column(
            "resend_of", sa.BigInteger(), nullable=True, comment="the first send, whose recipient it goes to again"
        ),
        sa.Column(
            "attempt", sa.SmallInteger(), server_default="0", nullable=False, comment="0: the first; n: the nth resend"
        ),
        sa.Column("spool", sa.String(length=64), nullable=True, comment="file that holds a copy to send again"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("send_by_message_id", "send", ["message_id"], unique=False)
    op.create_index(
        "send_by_spool",
        "send",
        ["spool"],
        unique=False,
        sqlite_where=sa.text("spool IS NOT NULL"),
        postgresql_where=sa.text("spool IS NOT NULL"),
    )
    op.create_index(
        "send_resent",
        "send",
        ["resend_of", "attempt"],
        unique=True,
        sqlite_where=sa.text("resend_of IS NOT NULL"),
        postgresql_where=sa.text("resend_of IS NOT NULL"),
    )
    op.create_table(
        "storm",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("side", sa.String(length=255), nullable=False),
        sa.Column("opened", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.BigInteger(), nullable=True),
        sa.Column("calm_since", sa.BigInteger(), nullable=True),
        sa.Column("sent", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column(
            "last_fact", sa.BigInteger(), nullable=False, comment="failures up to this one came before it was known"
        ),
        sa.Column(
            "taken_to", sa.BigInteger(), server_default="0", nullable=False, comment="and are held up to this one"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("storm_by_side", "storm", ["stream", "side", "closed"], unique=False)
    op.create_table(
        "storm_counter",
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("side", sa.String(length=255), nullable=False),
        sa.Column(
            "bucket",
            sa.BigInteger(),
            nullable=False,
            comment="beginning of the five minutes in which the mail was sent",
        ),
        sa.Column("writer", sa.String(length=40), nullable=False, comment="a process, so that no row is hot"),
        sa.Column("sent", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "side", "bucket", "writer"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "address_state",
        sa.Column("address_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["address_id"],
            ["address.id"],
        ),
        sa.PrimaryKeyConstraint("address_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "fact",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind", sa.String(length=16), nullable=False, comment="a report's kind, or withheld, suppress, lift, policy"
        ),
        sa.Column("address_id", sa.BigInteger(), nullable=True),
        sa.Column("send_id", sa.BigInteger(), nullable=True, comment="kept when the send is purged"),
        sa.Column("stream", sa.String(length=64), nullable=True),
        sa.Column("action", sa.String(length=16), nullable=True),
        sa.Column("type", sa.String(length=8), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("blame", sa.String(length=16), nullable=True),
        sa.Column("proof", sa.String(length=16), nullable=True),
        sa.Column(
            "policy_id", sa.Integer(), nullable=True, comment="the policy it was judged by; NULL: it counts for nobody"
        ),
        sa.Column("detail", sa.JSON(), nullable=False, comment="the rest, by name"),
        sa.ForeignKeyConstraint(
            ["address_id"],
            ["address.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("fact_by_address", "fact", ["address_id", "id"], unique=False)
    op.create_index("fact_by_send", "fact", ["send_id", "address_id"], unique=False)
    op.create_index("fact_by_time", "fact", ["at"], unique=False)
    op.create_table(
        "send_recipient",
        sa.Column("send_id", sa.BigInteger(), nullable=False),
        sa.Column("address_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["address_id"],
            ["address.id"],
        ),
        sa.ForeignKeyConstraint(
            ["send_id"],
            ["send.id"],
        ),
        sa.PrimaryKeyConstraint("send_id", "address_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("send_recipient_by_address", "send_recipient", ["address_id", "send_id"], unique=False)
    op.create_table(
        "suppression",
        sa.Column("address_key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("scope", sa.String(length=64), nullable=False, comment="* everywhere, *bulk, or a stream"),
        sa.Column("address_id", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.String(length=32), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True, comment="NULL: for good"),
        sa.Column(
            "tries",
            sa.SmallInteger(),
            server_default="0",
            nullable=False,
            comment="1: when it has run out, one send may try",
        ),
        sa.Column(
            "fact_id", sa.BigInteger(), server_default="0", nullable=False, comment="the fact that tipped the scale"
        ),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["address_id"],
            ["address.id"],
        ),
        sa.PrimaryKeyConstraint("address_key", "scope"),
        sqlite_with_rowid=False,
    )
    op.create_index("suppression_by_address", "suppression", ["address_id"], unique=False)
    op.create_table(
        "unread",
        sa.Column("fact_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False, comment="the report's first octets, as they came"),
        sa.ForeignKeyConstraint(
            ["fact_id"],
            ["fact.id"],
        ),
        sa.PrimaryKeyConstraint("fact_id"),
    )
