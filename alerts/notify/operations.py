"""Alerts about the deployment itself, as Prometheus' Alertmanager posts them, become messages to its operators."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from sqlalchemy import Connection

from adapters.channels.message import Message, fit_sms, printable, reference_of
from adapters.channels.target import ChannelName
from alerts.incidents.routing import Routing
from alerts.notify import outbox
from alerts.notify.outbox import Outgoing
from vedette.errors import InputError, SettingsError
from vedette.reading import UNREADABLE, why_unreadable

_Text = Annotated[str, Meta(max_length=1000)]
_MOST = 100


class OperationsAlert(msgspec.Struct, frozen=True):
    """One alert of Alertmanager's webhook, version 4 of its format: the fields that a message shows."""

    status: Literal["firing", "resolved"]
    labels: dict[_Text, _Text]
    annotations: dict[_Text, _Text]
    startsAt: Annotated[str, Meta(max_length=64)]  # noqa: N815, Alertmanager's name
    fingerprint: Annotated[str, Meta(max_length=64)]

    @property
    def name(self) -> str:
        """The alert's name."""
        return self.labels.get("alertname", "alert")


class _Post(msgspec.Struct, frozen=True):
    alerts: Annotated[list[OperationsAlert], Meta(max_length=_MOST)]


_DECODER = msgspec.json.Decoder(_Post)


def read_post(body: bytes) -> list[OperationsAlert]:
    """Return the alerts of a post.

    Raises:
        InputError: It is not what Alertmanager posts.
    """
    try:
        return _DECODER.decode(body).alerts
    except UNREADABLE as error:
        raise InputError(f"not a post of Alertmanager: {why_unreadable(error, body)}") from error


def check_recipients(routing: Routing, recipients: Sequence[str]) -> None:
    """Refuse recipients that the routing does not know.

    Raises:
        SettingsError: Names the recipient.
    """
    for name in recipients:
        if name not in routing.recipients:
            raise SettingsError(
                f"[monitor] recipients names {name!r}, and the routing has no such recipient",
                remedy=f"one of {', '.join(sorted(routing.recipients))}",
            )


def notify(
    connection: Connection, alerts: Sequence[OperationsAlert], routing: Routing, recipients: Sequence[str], now: int
) -> int:
    """Write urgent messages about alerts to the outbox, each once however often Alertmanager repeats it.

    Returns:
        The number of new messages.
    """
    messages = [_message(alert, name, routing.recipients[name].channel, now) for alert in alerts for name in recipients]
    return outbox.add(connection, [Outgoing(message, now, urgent=True) for message in messages], now)


def _message(alert: OperationsAlert, recipient: str, channel: ChannelName, now: int) -> Message:
    key = f"operations:{alert.fingerprint}:{alert.startsAt}:{alert.status}"
    reference = reference_of(f"{key}:{recipient}:{channel}")
    word = "RESOLVED" if alert.status == "resolved" else "FIRING"
    head = f"{word}: {printable(alert.name)}"
    summary = printable(alert.annotations.get("summary", ""))
    runbook = printable(alert.annotations.get("runbook", ""))
    if channel in ("sms", "whatsapp"):
        text = fit_sms(f"{head} ", summary, f" {reference}")
    else:
        text = "\n".join(line for line in (head, summary, runbook, reference) if line)
    return Message(
        key=key, recipient=recipient, channel=channel, reference=reference, created_at=now, subject=head, text=text,
        data=msgspec.json.encode(
            {"kind": "operations", "status": alert.status, "alert": alert.name, "labels": alert.labels,
             "annotations": alert.annotations, "started_at": alert.startsAt}
        ).decode(),
    )  # fmt: skip
