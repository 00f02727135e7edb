"""The fraud team's incidents and messages, from the database."""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import Engine, func, select

from adapters.database import database_errors
from alerts.notify import failures, outbox
from alerts.notify.failures import ComponentFailure
from alerts.notify.outbox import MessageCount
from alerts.tables import incidents, is_open, messages
from vedette.clock import Clock

_UNSENT = ("pending", "sending", "unknown")


@dataclass(frozen=True, slots=True)
class Counted:
    """What the database holds.

    Attributes:
        unsent_s: By channel, the age in seconds of the oldest message that is not sent.
        messages: Messages by channel and status.
        failures: Parts of the notifier that do not work.
        incidents: Number of open incidents.
    """

    unsent_s: dict[str, float]
    messages: list[MessageCount]
    failures: list[ComponentFailure]
    incidents: int


def look(engine: Engine, url: str, clock: Clock) -> Iterator[Metric]:
    """Count incidents and messages.

    Raises:
        StateError: The database does not answer.
    """
    row, now = messages.c, clock.now_ms()
    oldest = select(row.channel, func.min(row.created_at)).where(row.status.in_(_UNSENT)).group_by(row.channel)
    with database_errors(url), engine.connect().execution_options(reads=True) as connection:
        counted = Counted(
            {str(channel): (now - at) / 1000 for channel, at in connection.execute(oldest)},
            outbox.tally(connection),
            failures.listing(connection),
            connection.execute(select(func.count()).select_from(incidents).where(is_open)).scalar_one(),
        )
    yield from metrics_of(counted)


def metrics_of(counted: Counted) -> Iterator[Metric]:
    """Yield the metrics of what was counted."""
    by_status = GaugeMetricFamily(
        "vedette_messages_to_team", "Messages to the team in the outbox, by channel and status",
        labels=["channel", "status"],
    )  # fmt: skip
    for count in counted.messages:
        by_status.add_metric([count.channel, count.status], count.count)
    age = GaugeMetricFamily(
        "vedette_message_oldest_unsent_seconds", "Age of the oldest message to the team that is not sent",
        labels=["channel"],
    )  # fmt: skip
    for channel in sorted({count.channel for count in counted.messages} | counted.unsent_s.keys()):
        age.add_metric([channel], counted.unsent_s.get(channel, 0.0))
    down = GaugeMetricFamily(
        "vedette_notifier_failing", "1 for every part of the notifier that does not work", labels=["part"]
    )
    for failure in counted.failures:
        down.add_metric([failure.component], 1.0)
    yield from (by_status, age, down)
    yield GaugeMetricFamily(
        "vedette_incidents_open", "Incidents that are open or acknowledged", value=counted.incidents
    )
