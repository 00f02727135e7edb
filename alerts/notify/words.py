"""Puts incidents and digests into words, in the reader's language, from templates that can be replaced."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined, select_autoescape

from alerts.incidents.incident import Incident
from alerts.incidents.routing import ChannelName
from alerts.notify.message import Message, fit_sms, mask_account, printable, reference_of
from vedette.clock import format_time
from vedette.errors import SettingsError
from vedette.events import Alert
from vedette.money import format_amount

Kind = Literal["incident", "update", "escalation"]

PICTURE = "days"
"""Content id of the picture in an e-mail."""

_SHOWN = 10  # alerts in a message, and lines in a digest; the rest is counted
_DIGEST_LINES = 50


@dataclass(frozen=True, slots=True)
class Reader:
    """Whom a message is for: name in the routing, channel, language."""

    recipient: str
    channel: ChannelName
    language: str


@dataclass(frozen=True, slots=True)
class Extras:
    """What some messages have beside their words: a link to take the incident on, a picture, replies that are read."""

    link: str = ""
    picture: bytes = b""
    replies: bool = False


class Renderer:
    """The words.

    Args:
        directory: Templates (`email.html` …) and languages (`en.toml` …) here come before those that ship; empty: none.

    Raises:
        SettingsError: A language lacks a word.
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
        self._words = _languages(Path(directory) if directory else None)

    @property
    def languages(self) -> set[str]:
        """Those it can write in."""
        return set(self._words)

    def incident(
        self, kind: Kind, incident: Incident, alerts: Sequence[Alert], reader: Reader, *,
        key: str, now: int, currency: str, extras: Extras = Extras(),
    ) -> Message:  # fmt: skip
        """The message that tells one reader of an incident.

        Args:
            kind: Whether it is new to them, goes on, or waits for somebody.
            incident: Which.
            alerts: What there is to tell of it, at least one.
            reader: Whom.
            key: The message's.
            now: Its date, ms since 1970 UTC.
            currency: That losses are ranked in.
            extras: What comes along.
        """
        t = self._words[reader.language]
        reference = reference_of(f"{key}\n{reader.recipient}")
        account = mask_account(printable(incident.account_id))
        head = f"#{incident.id}" if kind == "incident" else f"#{incident.id}, {t[kind]}"
        loss = format_amount(incident.expected_loss, currency)
        title = f"{t['incident']} {head}: {t['account']} {account}"
        common: dict[str, Any] = {
            "key": key, "recipient": reader.recipient, "channel": reader.channel, "reference": reference,
            "created_at": now, "incident": incident.id, "subject": f"[Vedette] {title}",
        }  # fmt: skip
        if reader.channel in ("sms", "whatsapp"):
            return Message(**common, text=_short(t, head, account, alerts, reference, incident.id, extras))
        values = {
            "t": t, "language": reader.language, "subject": common["subject"], "title": title,
            "alerts": [_gist_of(alert, t) | _facts_of(alert, t) for alert in alerts[:_SHOWN]],
            "expected_loss": loss, "reference": reference, "link": extras.link,
            "more": t["more"].format(count=len(alerts) - _SHOWN) if len(alerts) > _SHOWN else "",
            "picture": PICTURE if extras.picture else "",
        }  # fmt: skip
        text = self._templates.get_template("email.txt").render(values)
        if reader.channel == "webhook":
            body = {"type": kind, "key": key, "incident": incident, "alerts": list(alerts)}
            return Message(**common, text=text, data=msgspec.json.encode(body).decode())
        if reader.channel == "email":
            html = self._templates.get_template("email.html").render(values)
            return Message(**common, text=text, html=html, picture=extras.picture)
        return Message(**common, text=text)

    def digest(self, incidents: Sequence[Incident], reader: Reader, *, key: str, now: int, currency: str) -> Message:
        """The message that lists incidents, the most expensive first; see `incident` for the arguments."""
        t = self._words[reader.language]
        reference = reference_of(f"{key}\n{reader.recipient}")
        ranked = sorted(incidents, key=lambda each: (-each.expected_loss, each.id))
        title = f"{t['digest']}: {len(ranked)}"
        rows = [
            {
                "number": each.id,
                "expected_loss": format_amount(each.expected_loss, currency),
                "alerts": each.alerts,
                "account": mask_account(printable(each.account_id)),
            }
            for each in ranked[:_DIGEST_LINES]
        ]
        hidden = len(ranked) - _DIGEST_LINES
        values: dict[str, Any] = {
            "t": t, "language": reader.language, "subject": f"[Vedette] {title}", "title": title, "rows": rows,
            "more": t["more"].format(count=hidden) if hidden > 0 else "", "reference": reference,
        }  # fmt: skip
        text = self._templates.get_template("digest.txt").render(values)
        if reader.channel in ("sms", "whatsapp"):
            listed = "; ".join(f"#{row['number']} {row['expected_loss']} {row['account']}" for row in rows)
            text = fit_sms(f"Vedette {title}. ", listed, f". {t['reference']} {reference}")
        data = msgspec.json.encode({"type": "digest", "key": key, "incidents": ranked}).decode()
        html = self._templates.get_template("digest.html").render(values) if reader.channel == "email" else ""
        return Message(
            key=key, recipient=reader.recipient, channel=reader.channel, reference=reference, created_at=now, text=text,
            subject=values["subject"], html=html, data=data if reader.channel == "webhook" else "",
        )  # fmt: skip

    def page(self, language: str, number: str, text: str, *, ask: bool) -> str:
        """The page behind a link; `text` names the word it says, `ask` whether it has the button."""
        t = self._words[language]
        values = {"t": t, "language": language, "number": number, "text": t[text], "ask": ask}
        return self._templates.get_template("acknowledge.html").render(values)


def _languages(directory: Path | None) -> dict[str, dict[str, str]]:
    folder = resources.files("alerts.notify") / "languages"
    found = {
        Path(entry.name).stem: tomllib.loads(entry.read_text(encoding="utf-8"))
        for entry in (*folder.iterdir(), *(directory.glob("*.toml") if directory else ()))
    }
    wanted = found["en"].keys()
    for language, words in found.items():
        if words.keys() != wanted:
            wrong = ", ".join(sorted(words.keys() ^ wanted))
            raise SettingsError(f"language {language!r} lacks, or should not have: {wrong}")
    return found


def _gist_of(alert: Alert, t: dict[str, str]) -> dict[str, Any]:
    """An alert in a line, without anything that could forge one."""
    return {
        "action": t[alert.action],
        "amount": format_amount(alert.amount, printable(alert.currency)),
        "time": format_time(alert.event_time).replace("T", " ")[:16] + " UTC",
        "reasons": [printable(reason) for reason in alert.reasons],
    }


def _facts_of(alert: Alert, t: dict[str, str]) -> dict[str, Any]:
    """What else a template may show of an alert, likewise, and masked."""
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
    t: dict[str, str], head: str, account: str, alerts: Sequence[Alert], reference: str, number: int, extras: Extras
) -> str:
    """An SMS: the first alert and how many more there are, what may be answered, and the reference."""
    first = _gist_of(alerts[0], t)
    more = f" ({t['more'].format(count=len(alerts) - 1)})" if len(alerts) > 1 else ""
    said = f"Vedette {head}: {first['amount']} {first['action']}{more}, {t['account']} {account}, {first['time']}."
    reason = next(iter(first["reasons"]), "")
    why = f" {reason[:1].upper()}{reason[1:]}." if reason else ""
    reply = f" {t['reply'].format(number=number)}" if extras.replies else ""
    return fit_sms(said, why, f"{reply} {t['reference']} {reference}")
