"""Migrations of the schema, one file per step, run by Alembic."""
