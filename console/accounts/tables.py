"""Tables of the console's accounts (SQLAlchemy Core). Times are milliseconds since 1970-01-01 UTC."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table

from adapters.database.metadata import Number, metadata

users = Table(
    "console_users",
    metadata,
    Column("id", Number, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("role", String(24), nullable=False),
    Column("password", String(255), nullable=False, server_default=""),  # argon2id; empty until the first sign-in
    Column("authenticator", String(255), nullable=False, server_default=""),  # sealed, see access.keyring
    Column("last_step", BigInteger, nullable=False, server_default="0"),  # of the last code accepted
    Column("failures", Integer, nullable=False, server_default="0"),  # since the last success
    Column("locked_until", BigInteger, nullable=False, server_default="0"),
    Column("epoch", Integer, nullable=False, server_default="0"),  # sessions of earlier epochs have ended
    Column("identity", String(64)),  # hash of issuer and subject, for those who sign in by the identity provider
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    Index("console_users_name", "name", unique=True),
    Index("console_users_identity", "identity", unique=True),
)

# Only hashes of cookies and links are kept: their tokens have 192 random bits.
sessions = Table(
    "console_sessions",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("user_id", Number, ForeignKey("console_users.id"), nullable=False, index=True),
    Column("epoch", Integer, nullable=False),
    Column("began_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("proven_at", BigInteger, nullable=False),  # when a code was last given
)

invitations = Table(
    "console_invitations",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("user_id", Number, ForeignKey("console_users.id"), nullable=False, index=True),
    Column("authenticator", String(255), nullable=False),  # sealed: the secret that the invitation page shows
    Column("expires_at", BigInteger, nullable=False),
)

used_tokens = Table(
    "console_used_tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),  # of tokens that are good once, until they are too old
    Column("expires_at", BigInteger, nullable=False),
)
