"""A failure knows whom else the report names, so that an address that fails for several recipients is found."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("fact", sa.Column("named_key", sa.LargeBinary(16), nullable=True))
    there = sa.text("named_key IS NOT NULL")
    op.create_index(
        "fact_by_named", "fact", ["named_key", "address_id"], unique=False, sqlite_where=there, postgresql_where=there
    )
