"""A message with made-up alerts, to see what templates and languages make of them."""

from dataclasses import dataclass
from typing import Literal

from alerts.incidents.incident import Incident
from alerts.incidents.routing import ChannelName
from alerts.notify.email import compose
from alerts.notify.message import Message
from alerts.notify.picture import Day, draw
from alerts.notify.words import Extras, Kind, Reader, Renderer
from vedette.errors import InputError
from vedette.events import Action, Alert
from vedette.settings import NotifySettings

_NOW = 1_763_726_400_000
_ACTIONS: tuple[Action, Action] = ("decline", "review")
_DAYS = (900, 0, 4_200, 1_500, 800, 0, 0, 2_300, 5_100, 700, 0, 1_900, 2_600, 141_000)


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as people see it, as a web page, and as it goes to a mail server."""

    text: str
    html: bytes
    wire: bytes


def sample(notify: NotifySettings, channel: ChannelName, kind: Kind | Literal["digest"], language: str) -> Shown:
    """The message of an incident with two alerts, or a digest of two incidents.

    Raises:
        InputError: Nothing speaks this language.
    """
    renderer = Renderer(notify.templates)
    if language not in renderer.languages:
        known = ", ".join(sorted(renderer.languages))
        raise InputError(f"there is no language {language!r}", remedy=f"there are {known}")
    reader = Reader("preview", channel, language)
    message = _message(renderer, kind, reader)
    wire = compose(message, "team@bank.example", notify.email_from).as_bytes() if channel == "email" else b""
    text = message.data or (f"{message.subject}\n\n{message.text}" if message.html else message.text)
    return Shown(text, message.html.encode(), wire)


def _message(renderer: Renderer, kind: Kind | Literal["digest"], reader: Reader) -> Message:
    incidents = [
        Incident(
            id=number, account_id=f"ES912100041845020005{number:04}", state="open", expected_loss=lost, alerts=2,
            opened_at=_NOW, updated_at=_NOW,
        )
        for number, lost in ((17, 131_200), (18, 4_900))
    ]  # fmt: skip
    if kind == "digest":
        return renderer.digest(incidents, reader, key="preview", now=_NOW, currency="EUR")
    decline, review = _ACTIONS
    alerts = [
        Alert(
            alert_id=f"alert-{number}", transaction_id=f"t-{number}", account_id=incidents[0].account_id,
            event_time=_NOW - 90_000 * number, amount=amount, currency="EUR", action=action, score=score,
            expected_loss=lost, reasons=reasons, payee="FR1420041010050500013M02606", channel="transfer", country="FR",
        )
        for number, amount, action, score, lost, reasons in (
            (1, 98_000, decline, 0.95, 93_100, ["first payment to this payee", "most of the balance at once"]),
            (2, 43_000, review, 0.89, 38_100, ["new device"]),
        )
    ]  # fmt: skip
    picture = draw([Day(amount, amount if amount > 100_000 else 0) for amount in _DAYS])
    link = "https://vedette.example/incidents/…"
    extras = Extras(link=link, picture=picture if reader.channel == "email" else b"", replies=True)
    return renderer.incident(
        kind,
        incidents[0],
        alerts,
        reader,
        key="preview",
        now=_NOW,
        currency="EUR",
        extras=extras,
    )
