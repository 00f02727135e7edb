"""From incidents to messages: who is told of what now, what waits, and what goes into a digest.

Everything here happens inside one transaction with the alerts that caused it, so no alert is told twice or forgotten.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, delete, func, select, update

from alerts.database import insert_new
from alerts.database.tables import (
    digest_items,
    facts,
    incident_alerts,
    incidents,
    is_open,
    is_untold,
    messages,
    stopped,
)
from alerts.incidents import store
from alerts.incidents.attention import allowance, day_of, last_digest, quiet_until
from alerts.incidents.incident import Incident
from alerts.incidents.routing import Route, Routing
from alerts.notify import links, outbox
from alerts.notify.message import Message
from alerts.notify.words import Extras, Kind, Reader, Renderer
from vedette.clock import HOUR, MINUTE
from vedette.events import Alert

_AT_ONCE = 250  # incidents in one transaction, so that nobody waits long for the database
_PHONES = ("sms", "whatsapp")


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Turns incidents into messages.

    Args:
        routing: Who is told of what.
        renderer: Puts it into words.
        linker: Makes the links that acknowledge; None: messages have none, and nobody reads replies.
        picture: Draws an account's last days, as of a moment, as PNG; empty where nothing is known.
    """

    routing: Routing
    renderer: Renderer
    linker: links.Linker | None
    picture: Callable[[Connection, str, int], bytes]

    def run(self, connection: Connection, now: int) -> int:
        """Tell what may be told now. Returns how many messages were written."""
        run = _Run(self, connection, now)
        run.follow_up()
        run.open_waiting()
        run.escalate()
        run.digest()
        return outbox.add(connection, run.messages, now)


class _Run:
    """One look at what there is to tell."""

    def __init__(self, dispatcher: Dispatcher, connection: Connection, now: int) -> None:
        self._d = dispatcher
        self._routing = dispatcher.routing
        self._connection = connection
        self._now = now
        self._recent: dict[str, int] = {}
        self._pictures: dict[str, bytes] = {}
        self._silent = set(connection.scalars(select(stopped.c.address)))
        self.messages = list[tuple[Message, int]]()

    def follow_up(self) -> None:
        """Tell of alerts that joined an incident people know already."""
        table = incident_alerts.c
        query = (
            select(table.incident_id)
            .join(incidents, incidents.c.id == table.incident_id)
            .where(is_untold, incidents.c.told_at.is_not(None), is_open)
            .distinct()
        )
        for incident, alerts in self._untold(list(self._connection.scalars(query))):
            route = self._routing.route(alerts)
            self._tell("update", incident, alerts, route.tell, route, alerts[0].alert_id)

    def open_waiting(self) -> None:
        """Tell of new incidents, the most expensive first, as far as the day's budget goes."""
        budget, zone = self._routing.budget.incidents, self._routing.zone
        today = day_of(self._now, zone)
        day, _, count = (_fact(self._connection, "told") or f"{today}/0").partition("/")
        told = int(count) if day == today else 0
        room = min(_AT_ONCE, allowance(budget, self._now, zone) - told) if budget else _AT_ONCE
        waiting = (
            select(incidents.c.id)
            .where(incidents.c.told_at.is_(None), is_open)
            .order_by(incidents.c.expected_loss.desc(), incidents.c.id)
            .limit(max(room, 0))
        )
        chosen = list(self._connection.scalars(waiting))
        if not chosen:
            return
        escalations: dict[int, list[int]] = {}
        for incident, alerts in self._untold(chosen):
            route = self._routing.route(alerts)
            self._tell("incident", incident, alerts, route.tell, route, alerts[0].alert_id)
            if route.escalate:
                escalations.setdefault(route.escalate[0].after_minutes, []).append(incident.id)
        self._mark_told(chosen)
        for minutes, ids in escalations.items():
            due = incidents.c.id.in_(ids)
            self._connection.execute(update(incidents).where(due).values(escalate_at=self._now + minutes * MINUTE))
        if budget:
            _remember(self._connection, "told", f"{today}/{told + len(chosen)}")

    def escalate(self) -> None:
        """Tell the next ones of what nobody has acknowledged in time."""
        query = select(incidents.c.id).where(incidents.c.state == "open", incidents.c.escalate_at <= self._now)
        for number in list(self._connection.scalars(query)):
            incident = store.get(self._connection, number)
            alerts = store.alerts_of(self._connection, number)
            route = self._routing.route(alerts)
            steps = route.escalate[incident.escalated :]
            if steps:
                self._tell(
                    "escalation", incident, alerts, steps[0].tell, route, f"escalation-{incident.escalated}", True
                )
            told_at = incident.told_at or self._now
            due = told_at + steps[1].after_minutes * MINUTE if len(steps) > 1 else None
            self._connection.execute(
                update(incidents)
                .where(incidents.c.id == number)
                .values(escalate_at=due, escalated=incident.escalated + 1)
            )

    def digest(self) -> None:
        """At its times of day, tell of everything that waits in one message for each reader."""
        budget = self._routing.budget
        moment = last_digest(budget.times, self._now, self._routing.zone)
        before = _fact(self._connection, "digest")
        if before is None:  # a new database has no yesterday
            _remember(self._connection, "digest", str(moment))
        if before is None or moment <= int(before):
            return
        _remember(self._connection, "digest", str(moment))
        waiting = list(self._connection.scalars(select(incidents.c.id).where(incidents.c.told_at.is_(None), is_open)))
        for name in self._routing.resolve(budget.digest_to, self._now):
            self._defer(name, waiting)
        self._mark_told(waiting)
        items = digest_items.c
        listed: dict[str, list[int]] = {}
        for name, number in self._connection.execute(select(items.recipient, items.incident_id)):
            listed.setdefault(name, []).append(number)
        for name, numbers in listed.items():
            if name in self._routing.recipients and not self._is_silent(name):
                about = [each for part in _parts(numbers) for each in self._incidents(part)]
                key = f"digest:{moment}"
                currency = self._routing.currency
                reader = self._reader(name)
                said = self._d.renderer.digest(about, reader, key=key, now=self._now, currency=currency)
                self.messages.append((said, self._now))
        self._connection.execute(delete(digest_items))

    def _tell(
        self, kind: Kind, incident: Incident, alerts: Sequence[Alert], names: list[str], route: Route, part: str,
        urgent: bool = False,
    ) -> None:  # fmt: skip
        """One message for each recipient, or a place in their digest when they have had enough for this hour."""
        key = f"{incident.id}:{part}"
        for name in self._routing.resolve(names, self._now):
            if self._is_silent(name):
                continue
            recipient = self._routing.recipients[name]
            if recipient.most_per_hour and self._sent_lately(name) >= recipient.most_per_hour:
                self._defer(name, [incident.id])
                continue
            self._recent[name] = self._sent_lately(name) + 1 if recipient.most_per_hour else 0
            reader = self._reader(name)
            said = self._d.renderer.incident(
                kind, incident, alerts, reader, key=key, now=self._now, currency=self._routing.currency,
                extras=self._extras(incident, alerts, reader),
            )  # fmt: skip
            calm = self._now if urgent or route.urgent else quiet_until(recipient.span, self._now, self._routing.zone)
            self.messages.append((said, calm))

    def _extras(self, incident: Incident, alerts: Sequence[Alert], reader: Reader) -> Extras:
        linker = self._d.linker
        if reader.channel in _PHONES:
            return Extras(replies=linker is not None)
        if reader.channel == "webhook":
            return Extras()
        link = linker.make(self._connection, incident.id, reader.recipient, self._now) if linker else ""
        picture = b""
        if reader.channel == "email":
            account = incident.account_id
            if account not in self._pictures:
                self._pictures[account] = self._d.picture(
                    self._connection, account, max(alert.event_time for alert in alerts)
                )
            picture = self._pictures[account]
        return Extras(link=link, picture=picture)

    def _reader(self, name: str) -> Reader:
        return Reader(name, self._routing.recipients[name].channel, self._routing.language(name))

    def _is_silent(self, name: str) -> bool:
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

    def _untold(self, numbers: list[int]) -> list[tuple[Incident, list[Alert]]]:
        """These incidents with the alerts nobody has been told of, which now count as told."""
        table = incident_alerts.c
        found: list[tuple[Incident, list[Alert]]] = []
        for part in _parts(numbers):
            of: dict[int, list[Alert]] = {}
            mine = (table.incident_id.in_(part), is_untold)
            query = select(table.incident_id, table.body).where(*mine).order_by(table.added_at, table.alert_id)
            for number, body in self._connection.execute(query):
                of.setdefault(number, []).append(msgspec.json.decode(body, type=Alert))
            self._connection.execute(update(incident_alerts).where(*mine).values(told=True))
            about = {each.id: each for each in self._incidents(part)}
            found += [(about[number], of[number]) for number in part if number in of]
        return found

    def _incidents(self, numbers: list[int]) -> list[Incident]:
        return store.some(self._connection, numbers)

    def _mark_told(self, numbers: list[int]) -> None:
        for part in _parts(numbers):
            self._connection.execute(update(incidents).where(incidents.c.id.in_(part)).values(told_at=self._now))
            mine = (incident_alerts.c.incident_id.in_(part), is_untold)
            self._connection.execute(update(incident_alerts).where(*mine).values(told=True))


def _parts(numbers: list[int]) -> list[list[int]]:
    return [numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE)]


def _fact(connection: Connection, name: str) -> str | None:
    found: str | None = connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar_one_or_none()
    return found


def _remember(connection: Connection, name: str, value: str) -> None:
    if not insert_new(connection, facts, [{"name": name, "value": value}]):
        connection.execute(update(facts).where(facts.c.name == name).values(value=value))
