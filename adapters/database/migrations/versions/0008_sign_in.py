"""Users of an identity provider, and tokens that were used."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the identity of users, and the table of used tokens."""
    op.add_column("console_users", sa.Column("identity", sa.String(length=64), nullable=True))
    op.create_index("console_users_identity", "console_users", ["identity"], unique=True)
    op.create_table(
        "console_used_tokens",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_console_used_tokens")),
    )
