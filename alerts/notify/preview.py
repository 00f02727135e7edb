"""A message with sample alerts, to preview templates and languages."""

from dataclasses import dataclass
from typing import Literal

from adapters.channels.email import compose
from adapters.channels.message import Message
from adapters.channels.target import ChannelName
from alerts.incidents.incident import Incident
from alerts.notify.chart import DailyTotal, draw
from alerts.notify.rendering import Audience, MessageExtras, MessageKind, Renderer
from vedette.errors import InputError
from vedette.events import Action, Alert
from vedette.settings import NotifySettings
from vedette.wording import reason

_NOW = 1_763_726_400_000
_ACTIONS: tuple[Action, Action] = ("decline", "review")
_HIGH = reason("amount-high", {"amount": 98_000, "ratio": 12.0, "usual": 8_167, "currency": "EUR"}, 2.1)
_DRAINED = reason("balance-drained", {"share": 0.93, "usual": 0.16}, 0.9)
_NEW_DEVICE = reason("device-new", {"of": 41}, 0.7)
_DAYS = (900, 0, 4_200, 1_500, 800, 0, 0, 2_300, 5_100, 700, 0, 1_900, 2_600, 141_000)


@dataclass(frozen=True, slots=True)
class Preview:
    """A message as text, as a web page, and as sent to a mail server."""

    text: str
    html: bytes
    wire: bytes


def sample(
    notify: NotifySettings, channel: ChannelName, kind: MessageKind | Literal["digest"], language: str
) -> Preview:
    """Return the message of an incident with two alerts, or a digest of two incidents.

    Raises:
        InputError: There is no such language.
    """
    renderer = Renderer(notify.templates)
    if language not in renderer.languages:
        known = ", ".join(sorted(renderer.languages))
        raise InputError(f"there is no language {language!r}", remedy=f"there are {known}")
    audience = Audience("preview", channel, language)
    message = _message(renderer, kind, audience)
    wire = compose(message, "team@bank.example", notify.email_from).as_bytes() if channel == "email" else b""
    text = message.data or (f"{message.subject}\n\n{message.text}" if message.html else message.text)
    return Preview(text, message.html.encode(), wire)


def _message(renderer: Renderer, kind: MessageKind | Literal["digest"], audience: Audience) -> Message:
    incidents = [
        Incident(
            id=number, account_id=f"ES912100041845020005{number:04}", state="open", expected_loss=lost, alerts=2,
            opened_at=_NOW, updated_at=_NOW,
        )
        for number, lost in ((17, 131_200), (18, 4_900))
    ]  # fmt: skip
    if kind == "digest":
        return renderer.digest(incidents, audience, key="preview", now=_NOW, currency="EUR")
    decline, review = _ACTIONS
    alerts = [
        Alert(
            alert_id=f"alert-{number}", transaction_id=f"t-{number}", account_id=incidents[0].account_id,
            event_time=_NOW - 90_000 * number, amount=amount, currency="EUR", action=action, score=score,
            expected_loss=lost, reasons=reasons, payee="FR1420041010050500013M02606", channel="transfer", country="FR",
        )
        for number, amount, action, score, lost, reasons in (
            (1, 98_000, decline, 0.95, 93_100, [_HIGH, _DRAINED]),
            (2, 43_000, review, 0.89, 38_100, [_NEW_DEVICE]),
        )
    ]  # fmt: skip
    picture = draw([DailyTotal(amount, amount if amount > 100_000 else 0) for amount in _DAYS])
    link = "https://vedette.example/incidents/…"
    extras = MessageExtras(link=link, picture=picture if audience.channel == "email" else b"", replies=True)
    return renderer.incident(
        kind,
        incidents[0],
        alerts,
        audience,
        key="preview",
        now=_NOW,
        currency="EUR",
        extras=extras,
    )
