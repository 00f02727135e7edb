"""Alembic's entry point: runs on the connection passed by `adapters.database.connection`, in its transaction."""

from alembic import context

from adapters.database.metadata import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,  # SQLite changes a column by copying its table
)
context.run_migrations()
