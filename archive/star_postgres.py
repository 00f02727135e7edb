"""An export of the star in PostgreSQL: tables that are replaced in one transaction, and views on them for BI.

Whoever reads the views sees one export or the next, never a mixture. PostgreSQL itself refuses a view whose columns
would be renamed or removed.
"""

from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from archive.star import STAR, opened_star
from vedette.errors import UnavailableError

SCHEMA = "vedette_star"
_DATA = "vedette_star_data"
_AT_ONCE = 10_000
_TYPES = {
    "VARCHAR": "text", "BOOLEAN": "boolean", "INTEGER": "integer", "BIGINT": "bigint", "DOUBLE": "double precision",
    "DATE": "date", "TIMESTAMP WITH TIME ZONE": "timestamptz", "DECIMAL(22,4)": "numeric(22, 4)",
}  # fmt: skip


def load_star(folder: Path, url: str) -> None:
    """Replace the tables of an earlier export by those of this one.

    Args:
        folder: As `archive.star.export_star` has written it.
        url: Of the database.

    Raises:
        InputError: There is no export.
        UnavailableError: The database does not answer, or refuses a statement.
    """
    try:
        with opened_star(folder) as duck, psycopg.connect(url) as connection, connection.cursor() as cursor:
            for schema in (_DATA, SCHEMA):
                cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
            for table in STAR:
                rows = duck.table(table.name)
                columns = dict(zip(rows.columns, (str(kind) for kind in rows.types), strict=True))
                _replace(cursor, table.name, columns)
                fields = sql.SQL(", ").join(map(sql.Identifier, columns))
                copy = sql.SQL("COPY {}.{} ({}) FROM STDIN").format(
                    sql.Identifier(_DATA), sql.Identifier(table.name), fields
                )
                with cursor.copy(copy) as into:
                    for part in rows.to_arrow_reader(_AT_ONCE):
                        for values in zip(*(column.to_pylist() for column in part.columns), strict=True):
                            into.write_row(values)
                view = sql.SQL("CREATE OR REPLACE VIEW {}.{} AS SELECT {} FROM {}.{}").format(
                    sql.Identifier(SCHEMA), sql.Identifier(table.name), fields, sql.Identifier(_DATA),
                    sql.Identifier(table.name),
                )  # fmt: skip
                cursor.execute(view)
    except psycopg.Error as error:
        raise UnavailableError(
            f"the export cannot be written to PostgreSQL: {str(error).splitlines()[0]}",
            remedy="check the address, the rights of the role and ~/.pgpass",
        ) from error


def _replace(cursor: psycopg.Cursor[Any], name: str, columns: dict[str, str]) -> None:
    """Make an empty table with these columns; those of an earlier version get the new ones."""
    table = sql.SQL("{}.{}").format(sql.Identifier(_DATA), sql.Identifier(name))
    cursor.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} ()").format(table))
    for column, kind in columns.items():
        add = sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} ").format(table, sql.Identifier(column))
        cursor.execute(add + sql.SQL(_TYPES[kind]))
    cursor.execute(sql.SQL("TRUNCATE {}").format(table))
