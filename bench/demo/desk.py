"""The fraud team's desk: incidents and messages, as the database has them."""

from dataclasses import dataclass, field

from sqlalchemy import Engine, func, select

from alerts.database.tables import incident_alerts, incidents, messages
from alerts.incidents import store
from alerts.incidents.incident import OPEN, Incident
from alerts.notify import outbox

_SHOWN = 6


@dataclass(frozen=True)
class Worked:
    """What there is at a moment."""

    incidents: int = 0
    alerts: int = 0
    """Alerts that are in an incident."""
    untold: int = 0
    """Those of them that nobody has been told of."""
    messages: dict[str, int] = field(default_factory=dict)
    """Messages recorded, by channel."""
    unfinished: int = 0
    """Messages still to be tried."""
    dearest: list[Incident] = field(default_factory=list)
    """The open incidents with the highest expected loss."""


def look(engine: Engine) -> Worked:
    """The present moment."""
    with engine.connect().execution_options(reads=True) as connection:
        table = incident_alerts
        per_channel = select(messages.c.channel, func.count()).group_by(messages.c.channel)
        return Worked(
            incidents=connection.execute(select(func.count()).select_from(incidents)).scalar_one(),
            alerts=connection.execute(select(func.count()).select_from(table)).scalar_one(),
            untold=connection.execute(select(func.count()).where(table.c.told.is_(False))).scalar_one(),
            messages=dict(connection.execute(per_channel).all()),
            unfinished=outbox.unfinished(connection),
            dearest=store.find(connection, OPEN, _SHOWN),
        )
