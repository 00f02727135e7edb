"""The database of incidents and messages: SQLite by default, PostgreSQL in production, one schema.

The door: `open_database(settings)`, an SQLAlchemy engine whose tables are up to date; `tables` describes them.
"""

from alerts.database.engine import database_errors, insert_into, insert_new, open_database
from alerts.database.sole import sole_sender

__all__ = ["database_errors", "insert_into", "insert_new", "open_database", "sole_sender"]
