"""Accounts of the console; claims, notes and viewers of incidents; events that wait before they are published."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables, and add two columns to the events."""
    _accounts()
    _work()
    op.add_column("events", sa.Column("due_at", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("events", sa.Column("incident_id", _NUMBER, nullable=True))
    op.create_index("events_due_at", "events", ["due_at"])
    op.create_index("events_incident_id", "events", ["incident_id"])


def _accounts() -> None:
    op.create_table(
        "console_users",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=24), nullable=False),
        sa.Column("password", sa.String(length=255), server_default="", nullable=False),
        sa.Column("authenticator", sa.String(length=255), server_default="", nullable=False),
        sa.Column("last_step", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("locked_until", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_console_users")),
    )
    op.create_index("console_users_name", "console_users", ["name"], unique=True)
    user = sa.ForeignKeyConstraint
    op.create_table(
        "console_sessions",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", _NUMBER, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("proven_at", sa.BigInteger(), nullable=False),
        user(["user_id"], ["console_users.id"], name=op.f("fk_console_sessions_user_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_console_sessions")),
    )
    op.create_index("console_sessions_user_id", "console_sessions", ["user_id"])
    op.create_table(
        "console_invitations",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", _NUMBER, nullable=False),
        sa.Column("authenticator", sa.String(length=255), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        user(["user_id"], ["console_users.id"], name=op.f("fk_console_invitations_user_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_console_invitations")),
    )
    op.create_index("console_invitations_user_id", "console_invitations", ["user_id"])


def _work() -> None:
    incident = sa.ForeignKeyConstraint
    op.create_table(
        "incident_claims",
        sa.Column("incident_id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("who", sa.String(length=128), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        incident(["incident_id"], ["incidents.id"], name=op.f("fk_incident_claims_incident_id")),
        sa.PrimaryKeyConstraint("incident_id", name=op.f("pk_incident_claims")),
    )
    op.create_table(
        "incident_viewers",
        sa.Column("incident_id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("who", sa.String(length=128), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        incident(["incident_id"], ["incidents.id"], name=op.f("fk_incident_viewers_incident_id")),
        sa.PrimaryKeyConstraint("incident_id", "who", name=op.f("pk_incident_viewers")),
    )
    op.create_table(
        "incident_notes",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("incident_id", _NUMBER, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(length=128), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        incident(["incident_id"], ["incidents.id"], name=op.f("fk_incident_notes_incident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident_notes")),
    )
    op.create_index("incident_notes_incident_id", "incident_notes", ["incident_id"])
