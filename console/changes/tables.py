"""Tables of changes and of the runs that price them (SQLAlchemy Core). Times are milliseconds since 1970-01-01 UTC."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table, Text

from adapters.database.metadata import Number, metadata

proposals = Table(
    "change_proposals",
    metadata,
    Column("id", Number, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("author", String(64), nullable=False),
    Column("content", Text, nullable=False),  # JSON, as its kind has it
    Column("reason", Text, nullable=False, server_default=""),
    Column("revision", Integer, nullable=False, server_default="1"),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("decided_by", String(64), nullable=False, server_default=""),
    Column("decided_at", BigInteger),
    Column("answer", Text, nullable=False, server_default=""),  # why it was refused
    Column("before", Text, nullable=False, server_default=""),  # JSON: what was in force before
    Index("change_proposals_kind", "kind", "state"),
)

whatif_runs = Table(
    "whatif_runs",
    metadata,
    Column("id", Number, primary_key=True),
    Column("proposal_id", Number, ForeignKey("change_proposals.id"), nullable=False, index=True),
    Column("revision", Integer, nullable=False),  # of the proposal
    Column("who", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("stage", String(256), nullable=False, server_default=""),
    Column("done", BigInteger, nullable=False, server_default="0"),
    Column("total", BigInteger),
    Column("days", Integer, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),  # last sign of life
    Column("cancelled", Boolean, nullable=False, server_default="0"),
    Column("result", Text, nullable=False, server_default=""),  # JSON
)
