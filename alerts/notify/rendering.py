"""Renders messages about incidents and digests, in the recipient's language, from replaceable templates."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined, select_autoescape

from adapters.channels.message import INLINE_IMAGE_ID, Message, fit_sms, mask_account, printable, reference_of
from adapters.channels.target import ChannelName
from alerts.incidents.incident import Incident
from vedette.clock import format_time
from vedette.errors import SettingsError
from vedette.events import Alert
from vedette.money import format_amount
from vedette.wording import text_of

MessageKind = Literal["incident", "update", "escalation"]

_SHOWN = 10  # alerts in a message, and lines in a digest; the rest is counted
_DIGEST_LINES = 50


@dataclass(frozen=True, slots=True)
class Audience:
    """The recipient of a message: name in the routing, channel, language."""

    recipient: str
    channel: ChannelName
    language: str


@dataclass(frozen=True, slots=True)
class MessageExtras:
    """Optional parts of a message: a link to acknowledge the incident, a chart (PNG), and possible replies."""

    link: str = ""
    picture: bytes = b""
    replies: bool = False


class Renderer:
    """Renders messages.

    Args:
        directory: A folder whose templates (`email.html` …) and languages (`en.toml` …) replace those that ship;
            empty: none.

    Raises:
        SettingsError: A language lacks a phrase.
    """

    def __init__(self, directory: str = "") -> None:
        shipped = PackageLoader("alerts.notify", "templates")
        self._templates = Environment(
            loader=ChoiceLoader([FileSystemLoader(directory), shipped]) if directory else shipped,
            autoescape=select_autoescape(enabled_extensions=("html",), default=False),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._phrases = _languages(Path(directory) if directory else None)

    @property
    def languages(self) -> set[str]:
        """The available languages."""
        return set(self._phrases)

    def incident(
        self, kind: MessageKind, incident: Incident, alerts: Sequence[Alert], audience: Audience, *,
        key: str, now: int, currency: str, extras: MessageExtras = MessageExtras(),
    ) -> Message:  # fmt: skip
        """Return the message about an incident to one recipient.

        Args:
            kind: Whether the incident is new to them, has more alerts, or waits for somebody.
            incident: The incident.
            alerts: The alerts that the message is about, at least one.
            audience: The recipient.
            key: The key of the message.
            now: Its date, ms since 1970 UTC.
            currency: The ranking currency.
            extras: Link, chart and replies.
        """
        t = self._phrases[audience.language]
        reference = reference_of(f"{key}\n{audience.recipient}")
        account = mask_account(printable(incident.account_id))
        head = f"#{incident.id}" if kind == "incident" else f"#{incident.id}, {t[kind]}"
        loss = format_amount(incident.expected_loss, currency)
        title = f"{t['incident']} {head}: {t['account']} {account}"
        common: dict[str, Any] = {
            "key": key, "recipient": audience.recipient, "channel": audience.channel, "reference": reference,
            "created_at": now, "incident": incident.id, "subject": f"[Vedette] {title}",
        }  # fmt: skip
        if audience.channel in ("sms", "whatsapp"):
            return Message(
                **common, text=_short(t, audience.language, head, account, alerts, reference, incident.id, extras)
            )
        values = {
            "t": t, "language": audience.language, "subject": common["subject"], "title": title,
            "alerts": [_gist_of(alert, t, audience.language) | _facts_of(alert, t) for alert in alerts[:_SHOWN]],
            "expected_loss": loss, "reference": reference, "link": extras.link,
            "more": t["more"].format(count=len(alerts) - _SHOWN) if len(alerts) > _SHOWN else "",
            "picture": INLINE_IMAGE_ID if extras.picture else "",
        }  # fmt: skip
        text = self._templates.get_template("email.txt").render(values)
        if audience.channel == "webhook":
            body = {"type": kind, "key": key, "incident": incident, "alerts": list(alerts)}
            return Message(**common, text=text, data=msgspec.json.encode(body).decode())
        if audience.channel == "email":
            html = self._templates.get_template("email.html").render(values)
            return Message(**common, text=text, html=html, picture=extras.picture)
        return Message(**common, text=text)

    def digest(
        self, incidents: Sequence[Incident], audience: Audience, *, key: str, now: int, currency: str
    ) -> Message:
        """Return the message that lists incidents, the highest expected loss first; see `incident`."""
        t = self._phrases[audience.language]
        reference = reference_of(f"{key}\n{audience.recipient}")
        ranked = sorted(incidents, key=lambda incident: (-incident.expected_loss, incident.id))
        title = f"{t['digest']}: {len(ranked)}"
        rows = [
            {
                "number": incident.id,
                "expected_loss": format_amount(incident.expected_loss, currency),
                "alerts": incident.alerts,
                "account": mask_account(printable(incident.account_id)),
            }
            for incident in ranked[:_DIGEST_LINES]
        ]
        hidden = len(ranked) - _DIGEST_LINES
        values: dict[str, Any] = {
            "t": t, "language": audience.language, "subject": f"[Vedette] {title}", "title": title, "rows": rows,
            "more": t["more"].format(count=hidden) if hidden > 0 else "", "reference": reference,
        }  # fmt: skip
        text = self._templates.get_template("digest.txt").render(values)
        if audience.channel in ("sms", "whatsapp"):
            listed = "; ".join(f"#{row['number']} {row['expected_loss']} {row['account']}" for row in rows)
            text = fit_sms(f"Vedette {title}. ", listed, f". {t['reference']} {reference}")
        data = msgspec.json.encode({"type": "digest", "key": key, "incidents": ranked}).decode()
        html = self._templates.get_template("digest.html").render(values) if audience.channel == "email" else ""
        return Message(
            key=key, recipient=audience.recipient, channel=audience.channel, reference=reference, created_at=now,
            text=text, subject=values["subject"], html=html, data=data if audience.channel == "webhook" else "",
        )  # fmt: skip

    def phrase(self, language: str, key: str, **values: object) -> str:
        """Return a phrase of a language with its values."""
        return self._phrases[language][key].format(**values)

    def page(self, language: str, number: str, text: str, *, ask: bool) -> str:
        """Return the page behind a link; `text` is the key of its phrase, `ask` whether it has the button."""
        t = self._phrases[language]
        values = {"t": t, "language": language, "number": number, "text": t[text], "ask": ask}
        return self._templates.get_template("acknowledge.html").render(values)


def _languages(directory: Path | None) -> dict[str, dict[str, str]]:
    folder = resources.files("alerts.notify") / "languages"
    found = {
        Path(entry.name).stem: tomllib.loads(entry.read_text(encoding="utf-8-sig"))
        for entry in (*folder.iterdir(), *(directory.glob("*.toml") if directory else ()))
    }
    wanted = found["en"].keys()
    for language, phrases in found.items():
        if phrases.keys() != wanted:
            wrong = ", ".join(sorted(phrases.keys() ^ wanted))
            raise SettingsError(f"language {language!r} lacks these phrases, or must not have them: {wrong}")
    return found


def _gist_of(alert: Alert, t: dict[str, str], language: str) -> dict[str, Any]:
    """Return the line of an alert, without characters that could forge another line."""
    return {
        "action": t[alert.action],
        "amount": format_amount(alert.amount, printable(alert.currency)),
        "time": format_time(alert.event_time).replace("T", " ")[:16] + " UTC",
        "reasons": [printable(text_of(reason, language)) for reason in alert.reasons],
    }


def _facts_of(alert: Alert, t: dict[str, str]) -> dict[str, Any]:
    """Return the other values of an alert for templates, printable and masked."""
    facts = (
        (t["score"], f"{alert.score:.1%}"),
        (t["expected_loss"], format_amount(alert.expected_loss, printable(alert.currency))),
        (t["time"], format_time(alert.event_time).replace("T", " ")[:19] + " UTC"),
        (t["merchant"], printable(alert.merchant_id or "")),
        (t["payee"], mask_account(printable(alert.payee)) if alert.payee else ""),
        (t["channel"], printable(alert.channel or "")),
        (t["country"], printable(alert.country or "")),
    )
    return {"facts": [(name, value) for name, value in facts if value]}


def _short(
    t: dict[str, str],
    language: str,
    head: str,
    account: str,
    alerts: Sequence[Alert],
    reference: str,
    number: int,
    extras: MessageExtras,
) -> str:
    """Return an SMS: the first alert, the number of further ones, possible replies, and the reference."""
    first = _gist_of(alerts[0], t, language)
    more = f" ({t['more'].format(count=len(alerts) - 1)})" if len(alerts) > 1 else ""
    head_line = f"Vedette {head}: {first['amount']} {first['action']}{more}, {t['account']} {account}, {first['time']}."
    reason = next(iter(first["reasons"]), "")
    why = f" {reason[:1].upper()}{reason[1:]}." if reason else ""
    reply = f" {t['reply'].format(number=number)}" if extras.replies else ""
    return fit_sms(head_line, why, f"{reply} {t['reference']} {reference}")
