"""Indexes of open incidents and doubtful messages, which are few compared with the rest.

The index of ranked incidents started with their state, so SQLite preferred it for any open one and read all of them.
Doubtful messages had to be searched among all due ones, and old rows among all rows.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_OPEN = sa.text("state IN ('open', 'acknowledged')")
_DOUBTFUL = sa.text("status = 'unknown'")


def upgrade() -> None:
    """Recreate two indexes, and create two more."""
    op.drop_index("incidents_rank", "incidents")
    op.create_index("incidents_rank", "incidents", ["expected_loss"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_index("incidents_touched", "incidents", ["updated_at"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.drop_index("messages_status", "messages")
    op.create_index("messages_status", "messages", ["status", "updated_at"])
    op.create_index(
        "messages_doubtful", "messages", ["channel", "due_at"], sqlite_where=_DOUBTFUL, postgresql_where=_DOUBTFUL
    )
