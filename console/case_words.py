"""What happened in an incident, in words."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from console.reasons import reason_texts
from console.view import Words, money, span
from vedette.events import Alert

_REASONS = 3


def counts(alerts: Sequence[Alert]) -> dict[str, int]:
    """Return the number of alerts by action, the most severe first."""
    found = Counter(alert.action for alert in alerts)
    return {action: found[action] for action in ("decline", "review", "challenge") if found[action]}


def story(alerts: Sequence[Alert], t: Words) -> list[str]:
    """Return sentences: how many payments of how much in which time, to whom, what was decided, and why."""
    if not alerts:
        return []
    amounts: Counter[str] = Counter()
    for alert in {alert.transaction_id: alert for alert in alerts}.values():  # a denied payment has two alerts
        amounts[alert.currency] += alert.amount
    total = t("list_and").join(money(amount, currency) for currency, amount in amounts.most_common())
    times = [alert.event_time for alert in alerts]
    payments = len({alert.transaction_id for alert in alerts})
    if payments == 1:
        first = t("story_one", total=total)
    else:
        first = t("story_many", payments=payments, total=total, span=span(max(times) - min(times)))
    return [first, *_places(alerts, t), _decisions(alerts, t), *_why(alerts, t)]


def account_row(alert: Alert) -> dict[str, Any]:
    """Return an alert's payment as a row like those of the archive."""
    return {
        "transaction_id": alert.transaction_id, "account_id": alert.account_id, "event_time": alert.event_time,
        "amount": alert.amount, "currency": alert.currency, "payee": alert.payee, "merchant_id": alert.merchant_id,
        "device_id": alert.device_id, "ip_address": alert.ip_address, "country": alert.country,
        "channel": alert.channel, "action": alert.action, "fraud": None,
    }  # fmt: skip


def _places(alerts: Sequence[Alert], t: Words) -> list[str]:
    parts = []
    for key, values in (
        ("story_to", {alert.payee or alert.merchant_id for alert in alerts}),
        ("story_devices", {alert.device_id for alert in alerts}),
        ("story_countries", {alert.country for alert in alerts}),
    ):
        known = values - {None}
        if known:
            parts.append(
                t(f"{key}_one" if len(known) == 1 else f"{key}_many", count=len(known), one=min(map(str, known)))
            )
    return [t("story_places", places=t("list_comma").join(parts))] if parts else []


def _decisions(alerts: Sequence[Alert], t: Words) -> str:
    parts = [t(f"story_{action}", count=count) for action, count in counts(alerts).items()]
    return t("story_decisions", decisions=t("list_comma").join(parts))


def _why(alerts: Sequence[Alert], t: Words) -> list[str]:
    found = Counter(text for alert in alerts for text in reason_texts(alert.reasons, t.language))
    if not found:
        return []
    return [t("story_why", reasons="; ".join(text for text, _ in found.most_common(_REASONS)))]
