"""The database knows its key ring: another one would find no address, so no suppression, in it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "key_ring",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False, comment="1: there is one row"),
        sa.Column("fingerprint", sa.LargeBinary(16), nullable=False, comment="of the address secret"),
        sa.PrimaryKeyConstraint("id"),
    )
