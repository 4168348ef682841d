"""Recipients of a send to whom it can be no good send: those who were withheld, and those of whom no report comes."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "recipient_apart",
        sa.Column("send_id", sa.BigInteger(), nullable=False),
        sa.Column("address_id", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.String(length=16), nullable=False, comment="withheld, unheard (no report comes), waiting"),
        sa.ForeignKeyConstraint(["send_id"], ["send.id"]),
        sa.ForeignKeyConstraint(["address_id"], ["address.id"]),
        sa.PrimaryKeyConstraint("send_id", "address_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("recipient_apart_by_address", "recipient_apart", ["address_id", "send_id"], unique=False)
