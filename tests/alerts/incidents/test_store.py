from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, Select, select

from alerts.incidents import store
from alerts.incidents.incident import OPEN, STATES, HistoryEntry
from alerts.tables import events
from vedette.errors import InputError
from vedette.events import Alert, ClosedIncident, Label
from vedette.topics import Name

NOW = 1_700_000_000_000
MakeAlert = Callable[..., Alert]


def loss(alert: Alert) -> int:
    """Return the expected loss as it is, as there is one currency only."""
    return alert.expected_loss


def join(engine: Engine, *alerts: Alert, now: int = NOW) -> list[int]:
    """Join alerts in a separate transaction."""
    with engine.begin() as connection:
        return store.join(connection, alerts, loss, now)


def _on(topic: Name) -> Select[tuple[bytes]]:
    return select(events.c.value).where(events.c.topic == topic.value)


def closed(engine: Engine) -> list[ClosedIncident]:
    """Return the closed incidents that wait to be published."""
    with engine.begin() as connection:
        return [msgspec.json.decode(body, type=ClosedIncident) for body in connection.scalars(_on(Name.INCIDENTS))]


def labels(engine: Engine) -> list[Label]:
    """Return the labels that wait to be published."""
    with engine.begin() as connection:
        return [msgspec.json.decode(body, type=Label) for body in connection.scalars(_on(Name.LABELS))]


def test_alerts_of_one_account_join_one_incident(engine: Engine, alert: MakeAlert) -> None:
    """Whether they come together or one by one, their losses add up."""
    first = join(engine, alert(1, expected_loss=100), alert(2, expected_loss=20))
    second = join(engine, alert(3, expected_loss=3), now=NOW + 5)
    assert first == second
    with engine.begin() as connection:
        (incident,) = store.find(connection, OPEN)
        assert (incident.expected_loss, incident.alerts, incident.state) == (123, 3, "open")
        assert (incident.opened_at, incident.updated_at) == (NOW, NOW + 5)
        assert [each.alert_id for each in store.alerts_of(connection, incident.id)] == ["alert-1", "alert-2", "alert-3"]


def test_an_alert_that_is_known_changes_nothing(engine: Engine, alert: MakeAlert) -> None:
    """An alert that is delivered again, alone or twice in one batch, is counted once."""
    join(engine, alert(1), alert(1))
    assert join(engine, alert(1), now=NOW + 9) == []
    with engine.begin() as connection:
        (incident,) = store.find(connection, OPEN)
    assert (incident.alerts, incident.updated_at) == (1, NOW)


def test_incidents_are_ranked_by_expected_loss(engine: Engine, alert: MakeAlert) -> None:
    """The most expensive comes first, and a limit keeps the most expensive."""
    for number, lost in enumerate((5, 900, 70)):
        join(engine, alert(number, account_id=f"account-{number}", expected_loss=lost))
    with engine.begin() as connection:
        assert [each.expected_loss for each in store.find(connection, OPEN)] == [900, 70, 5]
        assert [each.expected_loss for each in store.find(connection, OPEN, 1)] == [900]


def test_a_later_alert_opens_a_new_incident_after_the_old_is_closed(engine: Engine, alert: MakeAlert) -> None:
    """A closed incident stays closed and keeps its alerts."""
    (old,) = join(engine, alert(1))
    with engine.begin() as connection:
        store.close(connection, old, fraud=False, who="ana", note="", now=NOW)
    (new,) = join(engine, alert(2))
    assert new != old
    with engine.begin() as connection:
        assert {each.id: each.alerts for each in store.find(connection, STATES)} == {old: 1, new: 1}


def test_history_says_who_did_what_when(engine: Engine, alert: MakeAlert) -> None:
    """Each change of state is a line, in order, with person and note."""
    (number,) = join(engine, alert(1))
    with engine.begin() as connection:
        store.acknowledge(connection, number, "ana", "calling", NOW + 1)
        store.acknowledge(connection, number, "ben", "", NOW + 2)
        closed = store.close(connection, number, fraud=True, who="ben", note="customer says no", now=NOW + 3)
        assert (closed.state, closed.owner) == ("confirmed", "ben")
        assert store.history_of(connection, number) == [
            HistoryEntry(NOW, "open", "vedette", ""),
            HistoryEntry(NOW + 1, "acknowledged", "ana", "calling"),
            HistoryEntry(NOW + 2, "acknowledged", "ben", ""),
            HistoryEntry(NOW + 3, "confirmed", "ben", "customer says no"),
        ]


@pytest.mark.parametrize("fraud", [True, False])
def test_closing_labels_every_transaction(engine: Engine, alert: MakeAlert, fraud: bool) -> None:
    """Confirmed or dismissed, each transaction's label waits for Kafka with everything that features need from it."""
    (number,) = join(engine, alert(1, device_id="phone"), alert(2, merchant_id=None, payee="payee"))
    with engine.begin() as connection:
        store.close(connection, number, fraud=fraud, who="ana", note="", now=NOW + 7)
    (event,) = closed(engine)
    assert event.state == ("confirmed" if fraud else "false_alarm")
    said = labels(engine)
    assert event.transaction_ids == [label.transaction_id for label in said]
    assert [label.transaction_id for label in said] == ["transaction-1", "transaction-2"]
    assert {(label.fraud, label.source, label.labelled_at) for label in said} == {(fraud, "analyst", NOW + 7)}
    about = (said[0].event_time, said[0].merchant_id, said[0].device_id)
    assert about == (alert(1).event_time, "merchant-9", "phone")


def test_what_is_closed_can_neither_be_closed_nor_taken_on(engine: Engine, alert: MakeAlert) -> None:
    """The second of two people gets the current state, and nothing is labelled twice."""
    (number,) = join(engine, alert(1))
    with engine.begin() as connection:
        store.close(connection, number, fraud=True, who="ana", note="", now=NOW)
    for again in (
        lambda connection: store.close(connection, number, fraud=False, who="ben", note="", now=NOW),
        lambda connection: store.acknowledge(connection, number, "ben", "", NOW),
    ):
        with pytest.raises(InputError, match="is confirmed fraud"), engine.begin() as connection:
            again(connection)
    assert len(labels(engine)) == 1


def test_twenty_people_at_once_close_an_incident_once(engine: Engine, alert: MakeAlert) -> None:
    """However many confirm at the same moment, one succeeds, and the labels are written once."""
    (number,) = join(engine, alert(1))

    def confirm(person: int) -> bool:
        try:
            with engine.begin() as connection:
                store.close(connection, number, fraud=True, who=f"person {person}", note="", now=NOW)
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(10) as people:
        assert sum(people.map(confirm, range(20))) == 1
    assert len(labels(engine)) == 1


def test_a_transaction_that_fails_leaves_neither_state_nor_label(engine: Engine, alert: MakeAlert) -> None:
    """State, history and labels are written together, or none of them is."""
    (number,) = join(engine, alert(1))
    with engine.connect() as connection, connection.begin() as transaction:
        store.close(connection, number, fraud=True, who="ana", note="", now=NOW)
        transaction.rollback()
    with engine.begin() as connection:
        assert store.get(connection, number).state == "open"
        assert len(store.history_of(connection, number)) == 1
    assert labels(engine) == []


def test_what_nobody_touches_expires_without_a_label(engine: Engine, alert: MakeAlert) -> None:
    """Open and acknowledged incidents expire after their time, without a label."""
    (old,) = join(engine, alert(1), now=NOW - 1)
    (fresh,) = join(engine, alert(2, account_id="other"), now=NOW)
    with engine.begin() as connection:
        assert store.expire(connection, untouched_since=NOW, now=NOW + 1) == 1
        assert store.get(connection, old).state == "expired"
        assert store.get(connection, fresh).state == "open"
        assert [store.count(connection, [state]) for state in ("expired", "open")] == [1, 1]
    assert [each.state for each in closed(engine)] == ["expired"]
    assert labels(engine) == []


def test_an_unknown_number_is_named(engine: Engine) -> None:
    """Showing, acknowledging and closing an incident that does not exist say so."""
    with engine.begin() as connection:
        for call in (
            lambda: store.get(connection, 77),
            lambda: store.acknowledge(connection, 77, "ana", "", NOW),
            lambda: store.close(connection, 77, fraud=True, who="ana", note="", now=NOW),
        ):
            with pytest.raises(InputError, match="no incident 77"):
                call()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(0, 10**15)), max_size=30), st.data())
def test_however_alerts_are_cut_into_batches_the_incidents_are_the_same(
    engine: Engine, alert: MakeAlert, rows: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """Each account has one open incident with each alert's loss in it exactly once, as plain addition gives."""
    made = [alert(number, account_id=f"a{number % 4}", expected_loss=lost) for number, _, lost in rows]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(made)), max_size=4)))
    first: dict[str, Alert] = {}
    for each in made:
        first.setdefault(each.alert_id, each)
    expected: dict[str, tuple[int, int]] = {}
    for each in first.values():
        count, total = expected.get(each.account_id, (0, 0))
        expected[each.account_id] = count + 1, total + each.expected_loss
    with engine.connect() as connection, connection.begin() as transaction:
        for start, end in zip([0, *cuts], [*cuts, len(made)], strict=True):
            store.join(connection, made[start:end], loss, NOW)
        found = {each.account_id: (each.alerts, each.expected_loss) for each in store.find(connection, OPEN)}
        transaction.rollback()
    assert found == expected
