"""What an incident is, and which of its states may follow which."""

from typing import Literal

import msgspec

from vedette.errors import InputError
from vedette.events import Alert, Label

State = Literal["open", "acknowledged", "confirmed", "false_alarm", "expired"]

OPEN: tuple[State, ...] = ("open", "acknowledged")
"""States in which an incident takes in further alerts of its account."""

STATES: tuple[State, ...] = (*OPEN, "confirmed", "false_alarm", "expired")

_NEXT: dict[State, tuple[State, ...]] = {
    "open": ("acknowledged", "confirmed", "false_alarm", "expired"),
    "acknowledged": ("acknowledged", "confirmed", "false_alarm", "expired"),
}


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """The alerts of one account that are worked on together.

    Attributes:
        id: The short number people say.
        account_id: Whose payments these are.
        state: How far the work is.
        expected_loss: Of its alerts together, in minor units of the currency that incidents are ranked in.
        alerts: How many.
        opened_at: When its first alert came, ms since 1970 UTC.
        updated_at: When it last changed.
        owner: Who has acknowledged or closed it.
        told_at: When people were told of it; None while it waits for the attention budget.
        escalate_at: When the next ones are told, should nobody have acknowledged it by then.
        escalated: How often that has happened.
    """

    id: int
    account_id: str
    state: State
    expected_loss: int
    alerts: int
    opened_at: int
    updated_at: int
    owner: str = ""
    told_at: int | None = None
    escalate_at: int | None = None
    escalated: int = 0


class Step(msgspec.Struct, frozen=True):
    """One line of an incident's history."""

    at: int
    state: State
    who: str
    note: str


def check_step(incident: int, now: State, wanted: State) -> None:
    """Refuse a state that cannot follow the present one: what is closed stays closed.

    Raises:
        InputError: Names the incident and both states.
    """
    if wanted not in _NEXT.get(now, ()):
        raise InputError(
            f"incident {incident} is {words(now)} and cannot become {words(wanted)}",
            remedy="a later alert of the account opens a new one",
        )


def words(state: State) -> str:
    """A state as people read it."""
    return {"confirmed": "confirmed fraud", "false_alarm": "false alarm"}.get(state, state)


def labels(alerts: list[Alert], *, fraud: bool, now: int) -> list[Label]:
    """What closing an incident says about each of its transactions."""
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
        )
        for alert in alerts
    ]
