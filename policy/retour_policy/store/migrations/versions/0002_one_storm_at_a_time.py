"""One open storm for each stream and side, whichever process opens it; what was seen can be pruned by its time."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    storm = sa.table("storm", *map(sa.column, ("id", "stream", "side", "closed")))
    is_open = storm.c.closed.is_(None)
    first = sa.select(sa.func.min(storm.c.id)).where(is_open).group_by(storm.c.stream, storm.c.side)
    second = sa.update(storm).where(is_open, storm.c.id.not_in(first.scalar_subquery()))
    now = time.time_ns() // 1_000_000  # it has held failures until now, which are found up to its end
    op.execute(second.values(closed=now))
    op.create_index(
        "storm_open",
        "storm",
        ["stream", "side"],
        unique=True,
        sqlite_where=sa.text("closed IS NULL"),
        postgresql_where=sa.text("closed IS NULL"),
    )
    op.create_index("seen_by_time", "seen", ["at"], unique=False)
