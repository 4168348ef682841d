"""Storms find the failures of their side by an index, and are looked at when they are due; more is counted."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for name, comment in (
        ("late", "failures that came then, of older mail"),
        ("refused", "failures that blame the sender"),
        ("told", "1: a burst of these was told"),
    ):
        column = sa.Column(name, sa.Integer(), server_default="0", nullable=False, comment=comment)
        op.add_column("storm_counter", column)
    op.create_table(
        "recent_failure",
        sa.Column("fact_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("side", sa.String(length=255), nullable=False, comment="empty once the address is erased"),
        sa.Column("address_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fact_id"),
    )
    op.create_index("recent_failure_by_side", "recent_failure", ["stream", "side", "fact_id"], unique=False)
    op.create_index("recent_failure_by_address", "recent_failure", ["address_id"], unique=False)
    due = sa.Column("due", sa.BigInteger(), server_default="0", nullable=False, comment="when it is looked at next")
    op.add_column("storm", due)
    op.drop_column("storm", "last_fact")
    op.drop_column("storm", "taken_to")
    there = sa.text("closed IS NULL")
    op.create_index("storm_by_due", "storm", ["due"], unique=False, sqlite_where=there, postgresql_where=there)
