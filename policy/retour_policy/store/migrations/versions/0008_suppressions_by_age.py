"""Suppressions can be listed by age without sorting all of them."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("suppression_by_since", "suppression", ["since", "address_key", "scope"], unique=False)
