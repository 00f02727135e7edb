"""The SQL database of incidents, messages and credentials: SQLite by default, PostgreSQL in production, one schema.

The entry point is `open_database(settings)`, an SQLAlchemy engine whose schema is up to date.
"""

from adapters.database.connection import database_errors, insert_into, insert_new, open_database
from adapters.database.single_sender import sole_sender

__all__ = ["database_errors", "insert_into", "insert_new", "open_database", "sole_sender"]
