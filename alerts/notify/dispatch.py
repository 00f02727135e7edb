"""From incidents to messages: immediate notifications, deferred ones, and digests.

Everything here happens in one transaction with the alerts that caused it, so no alert is forgotten or notified twice.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, delete, func, select, update

from adapters.database import insert_new
from alerts.incidents import store
from alerts.incidents.incident import Incident
from alerts.incidents.notification_budget import allowance, day_of, last_digest, quiet_until
from alerts.incidents.routing import Route, Routing
from alerts.notify import links, outbox
from alerts.notify.outbox import Outgoing
from alerts.notify.rendering import Audience, MessageExtras, MessageKind, Renderer
from alerts.tables import (
    digest_items,
    facts,
    incident_alerts,
    incidents,
    is_open,
    is_unnotified,
    messages,
    stopped,
)
from vedette.clock import HOUR, MINUTE
from vedette.events import Alert

_AT_ONCE = 250  # incidents per transaction, so that others do not wait long for the database
_PHONES = ("sms", "whatsapp")


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Turns incidents into messages.

    Args:
        routing: The routing.
        renderer: Renders the messages.
        linker: Creates the links that acknowledge; None: messages have no links, and replies are not read.
        chart: Draws an account's last days up to a moment as PNG; empty where nothing is known.
    """

    routing: Routing
    renderer: Renderer
    linker: links.Linker | None
    chart: Callable[[Connection, str, int], bytes]

    def run(self, connection: Connection, now: int) -> int:
        """Write the messages that may be sent now. Return the number of new ones."""
        run = _Dispatch(self, connection, now)
        run.follow_up()
        run.open_waiting()
        run.escalate()
        run.digest()
        return outbox.add(connection, run.messages, now)


class _Dispatch:
    """One pass over pending notifications."""

    def __init__(self, dispatcher: Dispatcher, connection: Connection, now: int) -> None:
        self._dispatcher = dispatcher
        self._routing = dispatcher.routing
        self._connection = connection
        self._now = now
        self._recent: dict[str, int] = {}
        self._charts: dict[str, bytes] = {}
        self._silent = set(connection.scalars(select(stopped.c.address)))
        self.messages = list[Outgoing]()

    def follow_up(self) -> None:
        """Send updates about alerts that joined an incident whose recipients know it."""
        table = incident_alerts.c
        query = (
            select(table.incident_id)
            .join(incidents, incidents.c.id == table.incident_id)
            .where(is_unnotified, incidents.c.notified_at.is_not(None), is_open)
            .distinct()
        )
        for incident, alerts in self._take_unnotified(list(self._connection.scalars(query))):
            route = self._routing.route(alerts)
            self._notify("update", incident, alerts, route.notify, route, alerts[0].alert_id)

    def open_waiting(self) -> None:
        """Notify of new incidents, the highest expected loss first, as far as the day's budget goes."""
        budget, zone = self._routing.budget.incidents, self._routing.zone
        today = day_of(self._now, zone)
        day, _, count = (_fact(self._connection, "notified") or f"{today}/0").partition("/")
        used = int(count) if day == today else 0
        left = min(_AT_ONCE, allowance(budget, self._now, zone) - used) if budget else _AT_ONCE
        waiting = (
            select(incidents.c.id)
            .where(incidents.c.notified_at.is_(None), is_open)
            .order_by(incidents.c.expected_loss.desc(), incidents.c.id)
            .limit(max(left, 0))
        )
        chosen = list(self._connection.scalars(waiting))
        if not chosen:
            return
        escalations: dict[int, list[int]] = {}
        for incident, alerts in self._take_unnotified(chosen):
            route = self._routing.route(alerts)
            self._notify("incident", incident, alerts, route.notify, route, alerts[0].alert_id)
            if route.escalate:
                escalations.setdefault(route.escalate[0].after_minutes, []).append(incident.id)
        self._mark_notified(chosen)
        for minutes, ids in escalations.items():
            due = incidents.c.id.in_(ids)
            self._connection.execute(update(incidents).where(due).values(escalate_at=self._now + minutes * MINUTE))
        if budget:
            _set_fact(self._connection, "notified", f"{today}/{used + len(chosen)}")

    def escalate(self) -> None:
        """Escalate incidents that nobody has acknowledged in time."""
        query = select(incidents.c.id).where(incidents.c.state == "open", incidents.c.escalate_at <= self._now)
        for number in list(self._connection.scalars(query)):
            incident = store.get(self._connection, number)
            alerts = store.alerts_of(self._connection, number)
            route = self._routing.route(alerts)
            steps = route.escalate[incident.escalated :]
            if steps:
                part = f"escalation-{incident.escalated}"
                self._notify("escalation", incident, alerts, steps[0].notify, route, part, urgent=True)
            notified_at = incident.notified_at or self._now
            due = notified_at + steps[1].after_minutes * MINUTE if len(steps) > 1 else None
            self._connection.execute(
                update(incidents)
                .where(incidents.c.id == number)
                .values(escalate_at=due, escalated=incident.escalated + 1)
            )

    def digest(self) -> None:
        """At the digests' times of day, list everything that waits in one message per recipient."""
        budget = self._routing.budget
        moment = last_digest(budget.times, self._now, self._routing.zone)
        before = _fact(self._connection, "digest")
        if before is None:  # a new database has no yesterday
            _set_fact(self._connection, "digest", str(moment))
        if before is None or moment <= int(before):
            return
        _set_fact(self._connection, "digest", str(moment))
        query = select(incidents.c.id).where(incidents.c.notified_at.is_(None), is_open)
        waiting = list(self._connection.scalars(query))
        for name in self._routing.resolve(budget.digest_to, self._now):
            self._defer(name, waiting)
        self._mark_notified(waiting)
        items = digest_items.c
        listed: dict[str, list[int]] = {}
        for name, number in self._connection.execute(select(items.recipient, items.incident_id)):
            listed.setdefault(name, []).append(number)
        for name, numbers in listed.items():
            if name in self._routing.recipients and not self._is_silent(name):
                found = [incident for part in _parts(numbers) for incident in self._incidents(part)]
                message = self._dispatcher.renderer.digest(
                    found, self._audience(name), key=f"digest:{moment}", now=self._now, currency=self._routing.currency
                )
                self.messages.append(Outgoing(message, self._now))
        self._connection.execute(delete(digest_items))

    def _notify(
        self, kind: MessageKind, incident: Incident, alerts: Sequence[Alert], names: list[str], route: Route,
        part: str, *, urgent: bool = False,
    ) -> None:  # fmt: skip
        """Add one message for each recipient, or an entry in the digest of those who have reached their limit."""
        key = f"{incident.id}:{part}"
        urgent = urgent or route.urgent
        for name in self._routing.resolve(names, self._now):
            if self._is_silent(name):
                continue
            recipient = self._routing.recipients[name]
            if recipient.most_per_hour and self._sent_lately(name) >= recipient.most_per_hour:
                self._defer(name, [incident.id])
                continue
            self._recent[name] = self._sent_lately(name) + 1 if recipient.most_per_hour else 0
            audience = self._audience(name)
            message = self._dispatcher.renderer.incident(
                kind, incident, alerts, audience, key=key, now=self._now, currency=self._routing.currency,
                extras=self._extras(incident, alerts, audience),
            )  # fmt: skip
            due_at = self._now if urgent else quiet_until(recipient.span, self._now, self._routing.zone)
            self.messages.append(Outgoing(message, due_at, urgent))

    def _extras(self, incident: Incident, alerts: Sequence[Alert], audience: Audience) -> MessageExtras:
        linker = self._dispatcher.linker
        if audience.channel in _PHONES:
            return MessageExtras(replies=linker is not None)
        if audience.channel == "webhook":
            return MessageExtras()
        link = linker.make(self._connection, incident.id, audience.recipient, self._now) if linker else ""
        chart = b""
        if audience.channel == "email":
            account = incident.account_id
            if account not in self._charts:
                latest = max(alert.event_time for alert in alerts)
                self._charts[account] = self._dispatcher.chart(self._connection, account, latest)
            chart = self._charts[account]
        return MessageExtras(link=link, picture=chart)

    def _audience(self, name: str) -> Audience:
        return Audience(name, self._routing.recipients[name].channel, self._routing.language(name))

    def _is_silent(self, name: str) -> bool:
        """Return whether a recipient's number has replied STOP."""
        on_phone = self._routing.recipients[name].channel in _PHONES
        return on_phone and self._routing.targets[name].to.value in self._silent

    def _sent_lately(self, name: str) -> int:
        if name not in self._recent:
            table = messages.c
            query = select(func.count()).where(table.recipient == name, table.created_at > self._now - HOUR)
            self._recent[name] = self._connection.execute(query).scalar_one()
        return self._recent[name]

    def _defer(self, name: str, numbers: Iterable[int]) -> None:
        rows = [{"recipient": name, "incident_id": number, "added_at": self._now} for number in numbers]
        insert_new(self._connection, digest_items, rows)

    def _take_unnotified(self, numbers: list[int]) -> list[tuple[Incident, list[Alert]]]:
        """Return these incidents with the alerts nobody was notified of, and mark those alerts as notified."""
        table = incident_alerts.c
        found: list[tuple[Incident, list[Alert]]] = []
        for part in _parts(numbers):
            alerts_of: dict[int, list[Alert]] = {}
            chosen = (table.incident_id.in_(part), is_unnotified)
            query = select(table.incident_id, table.body).where(*chosen).order_by(table.added_at, table.alert_id)
            for number, body in self._connection.execute(query):
                alerts_of.setdefault(number, []).append(msgspec.json.decode(body, type=Alert))
            self._connection.execute(update(incident_alerts).where(*chosen).values(notified=True))
            by_number = {incident.id: incident for incident in self._incidents(part)}
            found += [(by_number[number], alerts_of[number]) for number in part if number in alerts_of]
        return found

    def _incidents(self, numbers: list[int]) -> list[Incident]:
        return store.some(self._connection, numbers)

    def _mark_notified(self, numbers: list[int]) -> None:
        for part in _parts(numbers):
            self._connection.execute(update(incidents).where(incidents.c.id.in_(part)).values(notified_at=self._now))
            chosen = (incident_alerts.c.incident_id.in_(part), is_unnotified)
            self._connection.execute(update(incident_alerts).where(*chosen).values(notified=True))


def _parts(numbers: list[int]) -> list[list[int]]:
    return [numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE)]


def _fact(connection: Connection, name: str) -> str | None:
    found: str | None = connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar_one_or_none()
    return found


def _set_fact(connection: Connection, name: str, value: str) -> None:
    if not insert_new(connection, facts, [{"name": name, "value": value}]):
        connection.execute(update(facts).where(facts.c.name == name).values(value=value))
