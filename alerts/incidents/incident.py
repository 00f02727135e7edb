"""An incident and the transitions between its states."""

from typing import Literal

import msgspec

from vedette.errors import InputError
from vedette.events import Alert, ClosedIncident, Label

State = Literal["open", "acknowledged", "confirmed", "false_alarm", "expired"]

OPEN: tuple[State, ...] = ("open", "acknowledged")
"""States in which further alerts of the account join the incident."""

STATES: tuple[State, ...] = (*OPEN, "confirmed", "false_alarm", "expired")

_NEXT: dict[State, tuple[State, ...]] = {
    "open": ("acknowledged", "confirmed", "false_alarm", "expired"),
    "acknowledged": ("acknowledged", "confirmed", "false_alarm", "expired"),
}


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """The alerts of one account that are worked on together.

    Attributes:
        id: The short number that people use.
        account_id: The account whose payments these are.
        state: The state of the work.
        expected_loss: Sum over its alerts, in minor units of the ranking currency.
        alerts: Number of alerts.
        opened_at: When its first alert came, ms since 1970 UTC.
        updated_at: When it last changed.
        owner: Who has acknowledged or closed it.
        notified_at: When people were first notified of it; None while it waits for the budget.
        escalate_at: When the next escalation is due unless somebody acknowledges it.
        escalated: Number of escalations so far.
    """

    id: int
    account_id: str
    state: State
    expected_loss: int
    alerts: int
    opened_at: int
    updated_at: int
    owner: str = ""
    notified_at: int | None = None
    escalate_at: int | None = None
    escalated: int = 0


class HistoryEntry(msgspec.Struct, frozen=True):
    """One line of an incident's history."""

    at: int
    state: State
    who: str
    note: str


def check_step(incident: int, now: State, wanted: State) -> None:
    """Refuse a state that cannot follow the present one; a closed incident stays closed.

    Raises:
        InputError: Names the incident and both states.
    """
    if wanted not in _NEXT.get(now, ()):
        raise InputError(
            f"incident {incident} is {state_name(now)} and cannot become {state_name(wanted)}",
            remedy="a later alert of the account opens a new one",
        )


def state_name(state: State) -> str:
    """Return the readable name of a state."""
    return {"confirmed": "confirmed fraud", "false_alarm": "false alarm"}.get(state, state)


def labels(alerts: list[Alert], *, fraud: bool, now: int) -> list[Label]:
    """Return the label that closing an incident gives each of its transactions."""
    return [
        Label(
            transaction_id=alert.transaction_id,
            account_id=alert.account_id,
            fraud=fraud,
            source="analyst",
            event_time=alert.event_time,
            labelled_at=now,
            merchant_id=alert.merchant_id,
            device_id=alert.device_id,
            ip_address=alert.ip_address,
            payee=alert.payee,
        )
        for alert in alerts
    ]


def closed_incident(incident: Incident, alerts: list[Alert], now: int) -> ClosedIncident:
    """Return the event of an incident that is closed now."""
    if incident.state not in ("confirmed", "false_alarm", "expired"):
        raise ValueError(f"incident {incident.id} is {incident.state}")
    return ClosedIncident(
        incident_id=incident.id,
        account_id=incident.account_id,
        state=incident.state,
        transaction_ids=[alert.transaction_id for alert in alerts],
        closed_at=now,
    )
