"""Tables of webhooks (SQLAlchemy Core). Times are milliseconds since 1970-01-01 UTC."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, UniqueConstraint

from adapters.database.metadata import Number, metadata

endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", String(20), primary_key=True),
    Column("url", String(2048), nullable=False),
    Column("secret", String(256), nullable=False),  # sealed, see access.keyring
    Column("events", String(256), nullable=False),  # types, separated by spaces
    Column("actions", String(64), nullable=False),  # of decisions, separated by spaces; empty: all
    Column("state", String(8), nullable=False),  # active, paused
    Column("paused_because", String(256), nullable=False, server_default=""),
    Column("failures", Integer, nullable=False, server_default="0"),  # in a row, each with a longer pause
    Column("retry_at", BigInteger, nullable=False, server_default="0"),  # end of that pause
    Column("created_at", BigInteger, nullable=False),  # events from before are not for it
)

# One row per event and endpoint, written before the event's offset is committed.
deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Number, primary_key=True),
    Column("endpoint_id", String(20), ForeignKey("webhook_endpoints.id"), nullable=False),
    Column("event_id", String(40), nullable=False),
    Column("type", String(32), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("status", String(8), nullable=False),  # pending, sent, failed
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_at", BigInteger),  # next attempt, or end of the present one's lease; NULL: there is none
    Column("code", String(64), nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("endpoint_id", "event_id", name="webhook_deliveries_once"),
    Index("webhook_deliveries_due", "endpoint_id", "due_at"),
    Index("webhook_deliveries_finished", "status", "updated_at"),
)
