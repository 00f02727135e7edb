"""The table of API credentials (SQLAlchemy Core). Times are milliseconds since 1970-01-01 UTC."""

from sqlalchemy import BigInteger, Column, String, Table

from adapters.database.metadata import metadata

# Credentials for the institution's API; only a keyed hash of the secret is stored.
credentials = Table(
    "credentials",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("scopes", String(512), nullable=False),  # separated by spaces
    Column("hash", String(128), nullable=False),  # see access.keyring
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)
