"""Dispatch of notifications: budget, digests, caps, quiet hours and escalation, on both databases."""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, event, select

from adapters.channels.message import Message
from alerts.incidents import store
from alerts.incidents.incident import OPEN
from alerts.incidents.routing_file import read_routing
from alerts.notify import daily_totals, outbox
from alerts.notify.dispatch import Dispatcher
from alerts.notify.links import Linker
from alerts.notify.rendering import Renderer
from alerts.tables import messages, stopped
from vedette.clock import HOUR, MINUTE
from vedette.events import Alert
from vedette.settings_base import Secret

MIDNIGHT = round(datetime.fromisoformat("2026-03-02T00:00:00+00:00").timestamp() * 1000)
NOON = MIDNIGHT + 12 * HOUR

ROUTING = """\
format: 1
recipients:
  desk: {channel: email, to: fraud@bank.example}
  phone: {channel: sms, to: "+34600000001", language: es}
  lead: {channel: sms, to: "+34600000002"}
  head: {channel: sms, to: "+34600000003"}
routes:
  - when: {amount_from: 1000}
    notify: [desk, phone]
    escalate: [{after_minutes: 15, notify: [lead]}, {after_minutes: 60, notify: [head]}]
  - notify: [desk]
"""


class Team:
    """A routing at work on a database."""

    def __init__(self, engine: Engine, folder: Path, text: str, *, linker: bool = False) -> None:
        (folder / "routing.yaml").write_text(text)
        renderer = Renderer()
        made = Linker("https://answers.example", Secret("k" * 32), Random(1)) if linker else None  # noqa: S311
        routing = read_routing(folder / "routing.yaml", renderer.languages)
        self.engine = engine
        self.dispatcher = Dispatcher(routing, renderer, made, daily_totals.chart)
        self._last = 0

    def take(self, now: int, *alerts: Alert) -> list[Message]:
        """Let alerts join incidents and notify of them in one transaction, as the notifier does; return new ones."""
        with self.engine.begin() as connection:
            store.join(connection, alerts, lambda alert: alert.expected_loss, now)
            self.dispatcher.run(connection, now)
            rows = connection.execute(
                select(messages.c.id, messages.c.body, messages.c.due_at)
                .where(messages.c.id > self._last)
                .order_by(messages.c.id)
            ).all()
        self._last = max((row.id for row in rows), default=self._last)
        self.due = [row.due_at for row in rows]
        return [msgspec.json.decode(row.body, type=Message) for row in rows]


@pytest.fixture
def team(engine: Engine, tmp_path: Path) -> Callable[..., Team]:
    """Makes a team; the first argument is inserted into the routing before its routes."""

    def make(more: str = "", *, escalating: bool = True, linker: bool = False) -> Team:
        text = ROUTING.replace("routes:", f"{more}\nroutes:")
        lines = [line for line in text.splitlines() if escalating or "escalate" not in line]
        return Team(engine, tmp_path, "\n".join(lines), linker=linker)

    return make


def whom(told: list[Message]) -> list[str]:
    """Return the recipients."""
    return sorted(message.recipient for message in told)


def test_an_alert_is_told_as_its_route_says_and_once(team: Callable[..., Team], alert: Callable[..., Alert]) -> None:
    """Large ones go to desk and phone, small ones to the desk; a repeated alert or a second pass sends nothing."""
    at_work = team()
    assert whom(at_work.take(NOON, alert(1, amount=100_000))) == ["desk", "phone"]
    assert whom(at_work.take(NOON, alert(2, amount=99_999, account_id="other"))) == ["desk"]
    assert at_work.take(NOON, alert(1, amount=100_000)) == []
    assert at_work.take(NOON + MINUTE) == []


def test_alerts_of_one_moment_are_one_message_and_later_ones_another(
    team: Callable[..., Team], alert: Callable[..., Alert]
) -> None:
    """An alert that joins a known incident is sent as an update, in the reader's language."""
    at_work = team()
    first = at_work.take(NOON, alert(1), alert(2), alert(3))
    assert whom(first) == ["desk", "phone"]
    assert "(y 2 mas)" in next(message.text for message in first if message.recipient == "phone")
    again = at_work.take(NOON + MINUTE, alert(4))
    assert whom(again) == ["desk", "phone"]
    assert {message.incident for message in first + again} == {first[0].incident}
    assert "more alerts" in next(message.subject for message in again if message.recipient == "desk")


def test_a_budget_tells_of_the_dearest_and_digests_the_rest(
    team: Callable[..., Team], alert: Callable[..., Alert]
) -> None:
    """With a budget of ten, the two costliest are notified by midnight, others during the day, the rest by digest."""
    at_work = team('budget: {incidents: 10, digest_at: ["18:00"], digest_to: [desk]}')
    flood = [alert(n, account_id=f"a{n}", expected_loss=100 * n, amount=1) for n in range(1, 21)]

    first = at_work.take(MIDNIGHT, *flood)
    assert [message.text.splitlines()[2] for message in first] == [
        "Expected loss: 20.00 EUR",
        "Expected loss: 19.00 EUR",
    ]
    with at_work.engine.begin() as connection:
        waiting = [each for each in store.find(connection, OPEN) if each.notified_at is None]
        assert max(each.expected_loss for each in waiting) == 1800
    assert len(at_work.take(NOON)) == 4
    (digest,) = at_work.take(MIDNIGHT + 18 * HOUR + MINUTE)[-1:]
    assert digest.incident is None
    assert at_work.take(MIDNIGHT + 18 * HOUR + 2 * MINUTE) == []
    with at_work.engine.begin() as connection:
        assert all(each.notified_at is not None for each in store.find(connection, OPEN))


def test_a_budget_is_never_passed_and_begins_anew_each_day(
    team: Callable[..., Team], alert: Callable[..., Alert]
) -> None:
    """However many incidents a day has, at most the budget is notified individually, and as many again the next day."""
    at_work = team('budget: {incidents: 10, digest_at: ["23:59"], digest_to: [lead]}')
    counts = []
    for day in range(2):
        told = 0
        for hour in range(24):
            now = MIDNIGHT + (24 * day + hour) * HOUR
            new = [alert(f"{day}-{hour}-{n}", account_id=f"{day}-{hour}-{n}", amount=1) for n in range(5)]  # type: ignore[arg-type]
            told += sum(message.incident is not None for message in at_work.take(now, *new))
        counts.append(told)
    assert counts == [9, 9]  # at 23:00 the last of the ten is still to come


def test_beyond_their_cap_a_recipient_gets_a_digest(team: Callable[..., Team], alert: Callable[..., Alert]) -> None:
    """Two are sent within an hour and the third waits for the digest; an hour later, messages are sent again."""
    at_work = team('budget: {digest_at: ["18:00"]}', escalating=False)
    at_work.dispatcher.routing.recipients["phone"] = msgspec.structs.replace(
        at_work.dispatcher.routing.recipients["phone"], most_per_hour=2
    )
    at_work.take(NOON)
    for number in range(3):
        told = at_work.take(NOON + number, alert(number, account_id=f"a{number}"))
        assert whom(told) == (["desk", "phone"] if number < 2 else ["desk"])
    assert whom(at_work.take(NOON + HOUR + MINUTE, alert(9, account_id="a9"))) == ["desk", "phone"]
    digests = [message for message in at_work.take(NOON + 7 * HOUR) if message.incident is None]
    assert whom(digests) == ["phone"]
    assert f"#{told[0].incident} " in digests[0].text


def test_quiet_hours_hold_back_what_is_not_urgent(team: Callable[..., Team], alert: Callable[..., Alert]) -> None:
    """At night the phone's message is due in the morning, and the desk's at once."""
    at_work = team()
    at_work.dispatcher.routing.recipients["phone"] = msgspec.structs.replace(
        at_work.dispatcher.routing.recipients["phone"], quiet="22:00-07:00"
    )
    told = at_work.take(MIDNIGHT + 2 * HOUR, alert(1))
    due = dict(zip((message.recipient for message in told), at_work.due, strict=True))
    assert due == {"desk": MIDNIGHT + 2 * HOUR, "phone": MIDNIGHT + 7 * HOUR}


def test_nobody_acknowledging_escalates_step_by_step(team: Callable[..., Team], alert: Callable[..., Alert]) -> None:
    """After a quarter of an hour the lead is notified, after an hour the head, each once."""
    at_work = team()
    at_work.take(NOON, alert(1))
    assert at_work.take(NOON + 14 * MINUTE) == []
    assert whom(at_work.take(NOON + 15 * MINUTE)) == ["lead"]
    assert at_work.take(NOON + 59 * MINUTE) == []
    assert whom(at_work.take(NOON + 60 * MINUTE)) == ["head"]
    assert at_work.take(NOON + 600 * MINUTE) == []


def test_acknowledging_ends_escalation(team: Callable[..., Team], alert: Callable[..., Alert]) -> None:
    """After an acknowledgement, nobody else is notified."""
    at_work = team()
    (number,) = {message.incident for message in at_work.take(NOON, alert(1))}
    assert number is not None
    with at_work.engine.begin() as connection:
        store.acknowledge(connection, number, "ana", "", NOON + MINUTE)
    assert at_work.take(NOON + 600 * MINUTE) == []


def test_a_number_that_said_stop_gets_nothing(team: Callable[..., Team], alert: Callable[..., Alert]) -> None:
    """It gets neither alerts nor escalations; other numbers get theirs."""
    at_work = team()
    with at_work.engine.begin() as connection:
        connection.execute(stopped.insert().values(address="+34600000001", at=NOON))
    assert whom(at_work.take(NOON, alert(1))) == ["desk"]


def test_what_somebody_closed_while_it_waited_is_not_told(
    team: Callable[..., Team], alert: Callable[..., Alert]
) -> None:
    """An incident that is closed before its turn is not notified."""
    at_work = team('budget: {incidents: 1, digest_at: ["18:00"], digest_to: [desk]}')
    at_work.take(MIDNIGHT, alert(1, account_id="a1", amount=1))
    at_work.take(MIDNIGHT, alert(2, account_id="a2", amount=1))
    with at_work.engine.begin() as connection:
        (waiting,) = [each for each in store.find(connection, OPEN) if each.notified_at is None]
        store.close(connection, waiting.id, fraud=False, who="ana", note="", now=MIDNIGHT)
    assert at_work.take(MIDNIGHT + 18 * HOUR) == []


def test_a_crash_tells_neither_nothing_nor_twice(team: Callable[..., Team], alert: Callable[..., Alert]) -> None:
    """An uncommitted transaction has no effect; the alert is delivered again and notified once."""
    at_work = team()
    with at_work.engine.connect() as connection, connection.begin() as transaction:
        store.join(connection, [alert(1)], lambda each: each.expected_loss, NOON)
        assert at_work.dispatcher.run(connection, NOON) == 2
        transaction.rollback()
    assert whom(at_work.take(NOON, alert(1))) == ["desk", "phone"]


def test_each_recipients_link_is_their_own(team: Callable[..., Team], alert: Callable[..., Alert]) -> None:
    """An e-mail has a link that contains neither account nor incident; an SMS lists the possible replies."""
    at_work = team(linker=True)
    told = {message.recipient: message for message in at_work.take(NOON, alert(1))}
    link = next(word for word in told["desk"].text.split() if word.startswith("https://answers.example/incidents/"))
    assert len(link.rpartition("/")[2]) >= 40
    assert link in told["desk"].html
    number = told["phone"].incident
    assert f"Responda {number} FRAUDE, {number} OK o {number} MIO." in told["phone"].text
    assert "https" not in told["phone"].text


def test_no_statement_reads_everything_that_is_open(
    sqlite: Engine, tmp_path: Path, alert: Callable[..., Alert]
) -> None:
    """However many incidents are open, joining, notifying and listing the costliest ones use an index."""
    team = Team(sqlite, tmp_path, ROUTING)
    said: list[tuple[str, Any]] = []

    @event.listens_for(sqlite, "before_cursor_execute")
    def listen(*about: Any) -> None:
        _, _, statement, parameters, _, several = about
        if statement.startswith(("SELECT", "UPDATE")):
            said.append((statement, parameters[0] if several else parameters))

    team.take(NOON, alert(1))
    team.take(NOON + 20 * MINUTE, alert(2))
    with sqlite.begin() as connection:
        assert outbox.claim(connection, "email", NOON + HOUR, 5)
        assert outbox.doubtful(connection, "email", NOON + HOUR, 5) == []
        assert store.expire(connection, NOON, NOON) == 0
        assert store.find(connection, OPEN, 5)
        explained = [
            row.detail
            for statement, parameters in list(said)
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    small = "stopped|digest_items|incident_alerts USING INDEX incident_alerts_unnotified|"
    small += "incidents USING INDEX incidents_rank"
    assert [step for step in explained if re.match(rf"SCAN (?!{small})", step)] == []
    assert {"incidents_one_open", "messages_doubtful"} <= set(
        re.findall(r"USING (?:COVERING )?INDEX (\w+)", " ".join(explained))
    )
