"""The tables, as SQLAlchemy Core sees them; `migrations/` brings a database there. Times are ms since 1970 UTC."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    literal_column,
    text,
)

# SQLite numbers rows by itself only where the key is its plain INTEGER.
Number = BigInteger().with_variant(Integer, "sqlite")

_OPEN = text("state IN ('open', 'acknowledged')")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "%(table_name)s_%(column_0_name)s",
    }
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Number, primary_key=True),
    Column("account_id", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("expected_loss", BigInteger, nullable=False),  # of its alerts together, minor units of the ranking currency
    Column("alerts", Integer, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("owner", String(128), nullable=False, server_default=""),
    Column("told_at", BigInteger),  # when people were first told of it; NULL: it waits
    Column("escalate_at", BigInteger),  # when to tell the next ones, if nobody has acknowledged by then
    Column("escalated", Integer, nullable=False, server_default="0"),  # how often that has happened
    Index(
        "incidents_one_open",  # an account has one open incident: the database itself sees to it
        "account_id",
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    ),
    Index("incidents_rank", "expected_loss", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index("incidents_touched", "updated_at", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index("incidents_told", "told_at"),
    Index("incidents_escalate", "escalate_at"),
)

is_open = incidents.c.state.in_([literal_column("'open'"), literal_column("'acknowledged'")])
"""Whether an incident is open, in the words of the indexes above: for others SQLite would not use them."""

incident_alerts = Table(
    "incident_alerts",
    metadata,
    Column("alert_id", String(128), primary_key=True),
    Column("incident_id", Number, ForeignKey("incidents.id"), nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),  # the Alert as JSON
    Column("added_at", BigInteger, nullable=False),
    Column("told", Boolean, nullable=False),
    Index(
        "incident_alerts_untold",
        "incident_id",
        sqlite_where=text("told = 0"),
        postgresql_where=text("told = false"),
    ),
)

is_untold = incident_alerts.c.told == false()
"""Whether people are still to be told of an alert, likewise in the words of its index."""

incident_history = Table(
    "incident_history",
    metadata,
    Column("id", Number, primary_key=True),
    Column("incident_id", Number, ForeignKey("incidents.id"), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("who", String(128), nullable=False),
    Column("note", Text, nullable=False),
)

# What must reach Kafka, written in the same transaction as its cause and taken out once the broker has it.
events = Table(
    "events",
    metadata,
    Column("id", Number, primary_key=True),
    Column("topic", String(64), nullable=False),
    Column("key", String(64), nullable=False),
    Column("value", LargeBinary, nullable=False),
)

# One row a message, recipient and channel; `subject` names what the message is about, so nothing is told twice.
messages = Table(
    "messages",
    metadata,
    Column("id", Number, primary_key=True),
    Column("subject", String(192), nullable=False),
    Column("incident_id", Number, nullable=True, index=True),
    Column("recipient", String(64), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("status", String(8), nullable=False),  # pending, sending, sent, failed, unknown
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("doubts", Integer, nullable=False, server_default="0"),  # how often an outcome was unknown
    Column("due_at", BigInteger),  # NULL: nothing more is tried
    Column("begun_at", BigInteger),  # when it was first handed to the provider
    Column("body", LargeBinary),  # the Message as JSON; NULL once sent
    Column("provider_id", String(192), nullable=False, server_default="", index=True),
    Column("code", String(64), nullable=False, server_default=""),
    Column("error", Text, nullable=False, server_default=""),
    Column("receipt", String(32), nullable=False, server_default=""),  # what the provider says became of it
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("messages_once", "subject", "recipient", "channel", unique=True),
    Index("messages_due", "channel", "due_at"),
    Index(
        "messages_doubtful",
        "channel",
        "due_at",
        sqlite_where=text("status = 'unknown'"),
        postgresql_where=text("status = 'unknown'"),
    ),
    Index("messages_status", "status", "updated_at"),
    Index("messages_recent", "recipient", "created_at"),
)

is_doubtful = messages.c.status == literal_column("'unknown'")
"""Whether it is unknown what became of a message, likewise in the words of its index."""

digest_items = Table(
    "digest_items",
    metadata,
    Column("recipient", String(64), primary_key=True),
    Column("incident_id", Number, ForeignKey("incidents.id"), primary_key=True),
    Column("added_at", BigInteger, nullable=False),
)

# Links that acknowledge an incident; of the token only a keyed hash is kept.
links = Table(
    "links",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("incident_id", Number, ForeignKey("incidents.id"), nullable=False),
    Column("recipient", String(64), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
)

# Webhooks that have been dealt with, so that a second delivery changes nothing.
receipts = Table(
    "receipts",
    metadata,
    Column("sid", String(64), primary_key=True),
    Column("status", String(32), primary_key=True),
    Column("received_at", BigInteger, nullable=False),
)

# Numbers that have answered STOP.
stopped = Table(
    "stopped",
    metadata,
    Column("address", String(64), primary_key=True),
    Column("at", BigInteger, nullable=False),
)

# What accounts paid a day, for the picture of their last days; `positions` says how far the decisions are counted.
account_days = Table(
    "account_days",
    metadata,
    Column("account_id", String(64), primary_key=True),
    Column("day", Integer, primary_key=True),  # days since 1970-01-01 UTC
    Column("currency", String(3), primary_key=True),
    Column("payments", Integer, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("flagged", BigInteger, nullable=False),
    Index("account_days_day", "day"),
)

positions = Table(
    "positions",
    metadata,
    Column("topic", String(128), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next", BigInteger, nullable=False),
)

rejects = Table(
    "rejects",
    metadata,
    Column("topic", String(128), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("value", LargeBinary),
    Column("seen_at", BigInteger, nullable=False),
)

facts = Table(
    "facts",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", String(64), nullable=False),
)

# Who may call the institution's API; of the secret only a keyed hash is kept.
credentials = Table(
    "credentials",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("scopes", String(512), nullable=False),  # separated by spaces
    Column("hash", String(128), nullable=False),  # see alerts.mfa.keyring
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)
