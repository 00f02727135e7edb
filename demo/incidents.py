"""Incidents and messages in the fraud team's database."""

from dataclasses import dataclass, field

from sqlalchemy import Engine, func, select

from alerts.incidents import store
from alerts.incidents.incident import OPEN, Incident
from alerts.notify import outbox
from alerts.tables import incident_alerts, incidents, is_unnotified, messages

_SHOWN = 6


@dataclass(frozen=True)
class IncidentCounts:
    """Counts at one moment."""

    incidents: int = 0
    alerts: int = 0
    """Alerts that have joined an incident."""
    not_notified: int = 0
    """Alerts of those that nobody has been notified of."""
    messages: dict[str, int] = field(default_factory=dict)
    """Messages recorded, by channel."""
    pending: int = 0
    """Messages still to be tried."""
    costliest: list[Incident] = field(default_factory=list)
    """The open incidents with the highest expected loss."""
    currency: str = "EUR"
    """The ranking currency, in which losses are given."""


def read_incidents(engine: Engine) -> IncidentCounts:
    """Return the counts of this moment; the demo's routing leaves the ranking currency at its default."""
    with engine.connect().execution_options(reads=True) as connection:
        table = incident_alerts
        per_channel = select(messages.c.channel, func.count()).group_by(messages.c.channel)
        return IncidentCounts(
            incidents=connection.execute(select(func.count()).select_from(incidents)).scalar_one(),
            alerts=connection.execute(select(func.count()).select_from(table)).scalar_one(),
            not_notified=connection.execute(select(func.count()).select_from(table).where(is_unnotified)).scalar_one(),
            messages=dict(connection.execute(per_channel).all()),
            pending=outbox.unfinished(connection),
            costliest=store.find(connection, OPEN, _SHOWN),
        )
