"""Links by which people unsubscribe name a row, which stands for an address and a stream."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "subscription",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("address_id", sa.BigInteger, sa.ForeignKey("address.id"), nullable=False),
        sa.Column("stream", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_index("subscription_by_address", "subscription", ["address_id", "stream"], unique=True)
