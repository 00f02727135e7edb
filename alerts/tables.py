"""Tables of incidents and messages (SQLAlchemy Core). Times are milliseconds since 1970-01-01 UTC."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    false,
    literal_column,
    text,
    true,
)

from adapters.database.metadata import Number, metadata

_OPEN = text("state IN ('open', 'acknowledged')")

incidents = Table(
    "incidents",
    metadata,
    Column("id", Number, primary_key=True),
    Column("account_id", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("expected_loss", BigInteger, nullable=False),  # sum over its alerts, minor units of the ranking currency
    Column("alerts", Integer, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("owner", String(128), nullable=False, server_default=""),
    Column("notified_at", BigInteger),  # when people were first notified of it; NULL: it waits for the budget
    Column("escalate_at", BigInteger),  # when the next escalation is due unless somebody acknowledges
    Column("escalated", Integer, nullable=False, server_default="0"),  # escalations so far
    Index(
        "incidents_one_open",  # the database enforces one open incident per account
        "account_id",
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    ),
    Index("incidents_rank", "expected_loss", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index("incidents_touched", "updated_at", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index("incidents_notified", "notified_at"),
    Index("incidents_escalate", "escalate_at"),
)

is_open = incidents.c.state.in_([literal_column("'open'"), literal_column("'acknowledged'")])
"""Whether an incident is open, written as in the partial indexes above; SQLite would not use them otherwise."""

incident_alerts = Table(
    "incident_alerts",
    metadata,
    Column("alert_id", String(128), primary_key=True),
    Column("incident_id", Number, ForeignKey("incidents.id"), nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),  # the Alert as JSON
    Column("added_at", BigInteger, nullable=False),
    Column("notified", Boolean, nullable=False),
    Index(
        "incident_alerts_unnotified",
        "incident_id",
        sqlite_where=text("notified = 0"),
        postgresql_where=text("notified = false"),
    ),
)

is_unnotified = incident_alerts.c.notified == false()
"""Whether nobody has been notified of an alert yet, written as in its partial index."""

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

# Who works on an incident. A claim that has expired is anybody's to take.
incident_claims = Table(
    "incident_claims",
    metadata,
    Column("incident_id", Number, ForeignKey("incidents.id"), primary_key=True, autoincrement=False),
    Column("who", String(128), nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

# Who has an incident's page open.
incident_viewers = Table(
    "incident_viewers",
    metadata,
    Column("incident_id", Number, ForeignKey("incidents.id"), primary_key=True, autoincrement=False),
    Column("who", String(128), primary_key=True),
    Column("seen_at", BigInteger, nullable=False),
)

incident_notes = Table(
    "incident_notes",
    metadata,
    Column("id", Number, primary_key=True),
    Column("incident_id", Number, ForeignKey("incidents.id"), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("who", String(128), nullable=False),
    Column("text", Text, nullable=False),
)

# Events for Kafka, written in the same transaction as their cause and deleted once the broker has acknowledged them.
events = Table(
    "events",
    metadata,
    Column("id", Number, primary_key=True),
    Column("topic", String(64), nullable=False),
    Column("key", String(64), nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("due_at", BigInteger, nullable=False, server_default="0", index=True),  # not published before
    Column("incident_id", Number, index=True),  # whose closing it follows, which may be undone before it is due
)

# One row per message, recipient and channel. `subject` is the message key, so that nothing is sent twice.
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
    Column("doubts", Integer, nullable=False, server_default="0"),  # how often the outcome was unknown
    Column("urgent", Boolean, nullable=False, server_default=false()),  # sent first and retried sooner
    Column("due_at", BigInteger),  # NULL: there are no further attempts
    Column("begun_at", BigInteger),  # when it was first handed to the provider
    Column("body", LargeBinary),  # the Message as JSON; NULL once sent
    Column("provider_id", String(192), nullable=False, server_default="", index=True),
    Column("code", String(64), nullable=False, server_default=""),
    Column("error", Text, nullable=False, server_default=""),
    Column(
        "receipt", String(32), nullable=False, server_default=""
    ),  # the last delivery status that the provider reported
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
    Index(
        "messages_urgent",
        "channel",
        "due_at",
        sqlite_where=text("urgent = 1"),
        postgresql_where=text("urgent = true"),
    ),
    Index("messages_status", "status", "updated_at"),
    Index("messages_recent", "recipient", "created_at"),
)

is_urgent = messages.c.urgent == true()
"""Whether a message is urgent, written as in its partial index."""

is_doubtful = messages.c.status == literal_column("'unknown'")
"""Whether the outcome of a message is unknown, written as in its partial index."""

digest_items = Table(
    "digest_items",
    metadata,
    Column("recipient", String(64), primary_key=True),
    Column("incident_id", Number, ForeignKey("incidents.id"), primary_key=True),
    Column("added_at", BigInteger, nullable=False),
)

# Links that acknowledge an incident; only a keyed hash of the token is kept.
links = Table(
    "links",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("incident_id", Number, ForeignKey("incidents.id"), nullable=False),
    Column("recipient", String(64), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
)

# Twilio's posts, each once, so that a repeated one changes nothing; a receipt may come before `sent` is written.
receipts = Table(
    "receipts",
    metadata,
    Column("sid", String(64), primary_key=True),
    Column("status", String(32), primary_key=True),
    Column("code", String(16), nullable=False, server_default=""),  # of the error, such as 30007
    Column("received_at", BigInteger, nullable=False),
)

# Current failures: a channel that cannot send, a reader that cannot read. A row is deleted when it works again.
failures = Table(
    "failures",
    metadata,
    Column("component", String(64), primary_key=True),  # such as "channel email" or "reader alerts"
    Column("since", BigInteger, nullable=False),
    Column("code", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("retry_at", BigInteger, nullable=False),
)

# Numbers that have answered STOP.
stopped = Table(
    "stopped",
    metadata,
    Column("address", String(64), primary_key=True),
    Column("at", BigInteger, nullable=False),
)

# Totals of accounts per day, for the chart in e-mails; `positions` holds the next offset to count.
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
