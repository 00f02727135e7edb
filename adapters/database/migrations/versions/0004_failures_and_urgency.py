"""Urgent messages, failing channels and readers, error codes of receipts; `told` becomes `notified`."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_RENAMED = (("incidents", "told_at", "notified_at"), ("incident_alerts", "told", "notified"))


def upgrade() -> None:
    """Rename two columns with their indexes, and add the rest."""
    op.drop_index("incidents_told", "incidents")
    op.drop_index("incident_alerts_untold", "incident_alerts")
    for table, old, new in _RENAMED:
        # Both databases rename in place; Alembic would copy the table for SQLite.
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    op.create_index("incidents_notified", "incidents", ["notified_at"])
    op.create_index(
        "incident_alerts_unnotified", "incident_alerts", ["incident_id"],
        sqlite_where=sa.text("notified = 0"), postgresql_where=sa.text("notified = false"),
    )  # fmt: skip
    op.execute("UPDATE facts SET name = 'notified' WHERE name = 'told'")
    op.add_column("messages", sa.Column("urgent", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(
        "messages_urgent", "messages", ["channel", "due_at"],
        sqlite_where=sa.text("urgent = 1"), postgresql_where=sa.text("urgent = true"),
    )  # fmt: skip
    op.add_column("receipts", sa.Column("code", sa.String(length=16), nullable=False, server_default=""))
    op.create_table(
        "failures",
        sa.Column("component", sa.String(length=64), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("retry_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("component", name=op.f("pk_failures")),
    )
