"""Current failures: channels that cannot send, readers that cannot read; for status and readiness."""

import msgspec
from sqlalchemy import Connection, select

from adapters.database import insert_into
from alerts.tables import failures


class ComponentFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the notifier that does not work.

    Attributes:
        component: Name of the part, such as "channel email" or "reader alerts".
        since: Start of the failure, ms since 1970 UTC.
        code: The code of the last error.
        reason: The last error in words.
        remedy: Suggested action.
        retry_at: When the next attempt is made, ms since 1970 UTC.
    """

    component: str
    since: int
    code: str
    reason: str
    remedy: str
    retry_at: int


def report(connection: Connection, failure: ComponentFailure) -> None:
    """Record a failure; a known one keeps its start."""
    row = msgspec.structs.asdict(failure) | {"code": failure.code[:64]}
    changed = {name: row[name] for name in ("code", "reason", "remedy", "retry_at")}
    statement = insert_into(connection, failures)
    connection.execute(statement.on_conflict_do_update(index_elements=[failures.c.component], set_=changed), row)


def clear(connection: Connection, component: str) -> None:
    """Remove a failure, as the component works."""
    connection.execute(failures.delete().where(failures.c.component == component))


def clear_all(connection: Connection) -> None:
    """Delete the failures recorded by an earlier process."""
    connection.execute(failures.delete())


def listing(connection: Connection) -> list[ComponentFailure]:
    """Return all failures, the oldest first."""
    rows = connection.execute(select(failures).order_by(failures.c.since, failures.c.component))
    return [ComponentFailure(**row._mapping) for row in rows]  # noqa: SLF001, SQLAlchemy's public way to a mapping
