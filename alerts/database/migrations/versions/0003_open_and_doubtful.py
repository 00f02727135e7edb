"""Indexes of what is open and of what is in doubt, which is little beside everything else.

While the rank of incidents began with their state, SQLite thought it the best way to any open one, and read all of
them to find it. Messages in doubt had to be looked for among all that are due, and what is old among all that is kept.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_OPEN = sa.text("state IN ('open', 'acknowledged')")
_DOUBTFUL = sa.text("status = 'unknown'")


def upgrade() -> None:
    """Make two anew, and two beside them."""
    op.drop_index("incidents_rank", "incidents")
    op.create_index("incidents_rank", "incidents", ["expected_loss"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_index("incidents_touched", "incidents", ["updated_at"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.drop_index("messages_status", "messages")
    op.create_index("messages_status", "messages", ["status", "updated_at"])
    op.create_index(
        "messages_doubtful", "messages", ["channel", "due_at"], sqlite_where=_DOUBTFUL, postgresql_where=_DOUBTFUL
    )
