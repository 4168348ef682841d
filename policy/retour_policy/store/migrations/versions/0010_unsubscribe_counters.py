"""Many who unsubscribe at one receiving side within minutes of the send are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "unsubscribe_counter",
        sa.Column("stream", sa.String(64), primary_key=True),
        sa.Column("side", sa.String(255), primary_key=True),
        sa.Column("bucket", sa.BigInteger, primary_key=True),
        sa.Column("unsubscribed", sa.Integer, nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
