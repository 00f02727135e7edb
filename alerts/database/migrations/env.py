"""Alembic's entry: runs on the connection that `alerts.database.engine` hands over, in its transaction."""

from alembic import context

from alerts.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,  # SQLite changes a column by copying its table
)
context.run_migrations()
