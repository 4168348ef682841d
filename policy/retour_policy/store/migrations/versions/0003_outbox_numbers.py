"""No number of the outbox is given out again; the items about a fact or an address are found without a scan."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":  # elsewhere numbers come from a sequence
        with op.batch_alter_table("outbox", recreate="always", table_kwargs={"sqlite_autoincrement": True}):
            pass
    for column in ("fact_id", "ordering"):
        there = sa.text(f"{column} IS NOT NULL")
        name = f"outbox_by_{column.removesuffix('_id')}"
        op.create_index(name, "outbox", [column], unique=False, sqlite_where=there, postgresql_where=there)
