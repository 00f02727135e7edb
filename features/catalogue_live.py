"""The live features: what happens at a payment's merchant, device, address and payee up to now, and incoming money.

They have no delay, so online they depend on how far the owners of these entities have come. What a decision saw is
logged with it; `vedette features skew` compares that with the same features computed without lag.
"""

from features.feature import Feature, Sensitivity
from vedette.clock import DAY, HOUR, MINUTE

LIVE_WINDOWS: dict[str, int] = {"10min": 10 * MINUTE, "1h": HOUR, "1d": DAY, "7d": 7 * DAY}
INCOMING_WINDOWS = ("1h", "1d", "7d")
PASSED_ON_WINDOWS = ("1h", "1d")

SMALL_AMOUNT = 4
"""Major units below which an amount is small, as those are with which stolen cards are tried."""

_PLACES = {
    "merchant": "at the merchant",
    "device": "from the device",
    "ip": "from the address",
    "payee": "to the payee",
}
_SPOKEN = {"10min": "the last 10 minutes", "1h": "the last hour", "1d": "the last day", "7d": "the last 7 days"}
_SENSITIVITY: dict[str, Sensitivity] = {"merchant": "none", "ip": "location"}


def live_features(entities: dict[str, str]) -> tuple[Feature, ...]:
    """Return the live features, in the order of features.kernel_live_features.

    Args:
        entities: The field of Transaction that names each kind of entity.
    """
    return (*(f for kind, source in entities.items() for f in _of_entity(kind, source)), *_incoming())


def _of_entity(kind: str, source: str) -> tuple[Feature, ...]:
    place = _PLACES[kind]

    def feature(name: str, meaning: str, unit: str, sources: str, reason: str, **more: str) -> Feature:
        return Feature(
            name=f"{kind}_live_{name}", meaning=meaning, unit=unit, sources=(source, "event_time", *sources.split()),
            reason=reason, sensitivity=_SENSITIVITY.get(kind, "behaviour"), freshness="live",
            window=more.get("window", ""), missing=f"NaN without {source}" + more.get("missing", ""),
        )  # fmt: skip

    features: list[Feature] = []
    for w, spoken in _SPOKEN.items():
        span = f"over (t - {w}, t], without this one"
        share = "{{value:.0%}} of the payments {place} in {spoken}"
        share = share.format(place=place, spoken=spoken)
        features += [
            feature(f"count_{w}", f"payments {place} {span}", "payments", "",
                    f"{{value:,.0f}} payments {place} in {spoken}", window=w),
            feature(f"accounts_{w}", f"different accounts that paid {place} {span}", "accounts", "account_id",
                    f"{{value:,.0f}} different accounts paid {place} in {spoken}", window=w),
            feature(f"new_accounts_{w}",
                    f"payments {place} {span} of accounts that had not paid there in the 30 days before",
                    "payments", "account_id", f"{{value:,.0f}} first payments of accounts {place} in {spoken}",
                    window=w),
            feature(f"sum_{w}", f"sum of the amounts paid {place} {span}", "major units", "amount",
                    f"{{value:,.2f}} paid {place} in {spoken}", window=w),
            feature(f"mean_{w}", f"mean of the amounts paid {place} {span}", "major units", "amount",
                    f"a mean of {{value:,.2f}} paid {place} in {spoken}", window=w,
                    missing=" or without such payments"),
            feature(f"small_share_{w}",
                    f"share of amounts under {SMALL_AMOUNT} major units among the payments {place} {span}; "
                    "0 if there were none", "share", "amount currency", f"{share} were tiny", window=w),
            feature(f"unusual_share_{w}",
                    f"share of amounts of more than 3 times the account's account_typical among the payments {place} "
                    f"{span}; 0 if there were none", "share", "account_id amount",
                    f"{share} were unusually large for their accounts", window=w),
            feature(f"flagged_share_{w}",
                    f"share of payments that were not approved among those {place} {span}; 0 if there were none",
                    "share", "decisions", f"{share} were flagged", window=w,
                    missing=" or where the decisions are not known"),
            feature(f"frauds_{w}", f"payments {place} {span} that have been confirmed as frauds by t", "payments",
                    "labels", f"{{value:.0f}} confirmed frauds {place} in {spoken}", window=w),
        ]  # fmt: skip
    return (
        *features,
        feature("age_days", f"time since the first payment {place}", "days", "",
                f"first payment {place} {{value:.1f}} days ago", missing=" or without an earlier payment"),
        feature("seconds_since_last", f"time since the last payment {place}", "seconds", "",
                f"{{span}} after the previous payment {place}", missing=" or without such a payment"),
        feature("frauds_known", f"all payments {place} that have been confirmed as frauds by t", "payments", "labels",
                f"{{value:.0f}} confirmed frauds {place}"),
    )  # fmt: skip


def _incoming() -> tuple[Feature, ...]:
    def feature(name: str, meaning: str, unit: str, reason: str, window: str = "", missing: str = "") -> Feature:
        return Feature(
            name=f"incoming_{name}", meaning=meaning, unit=unit, reason=reason, freshness="live", window=window,
            sources=("account_id", "event_time", "payee", "amount"), missing=missing or "never missing",
        )  # fmt: skip

    features: list[Feature] = []
    for w in INCOMING_WINDOWS:
        spoken, span = _SPOKEN[w], f"over (t - {w}, t]"
        features += [
            feature(f"count_{w}", f"payments to the account {span}", "payments",
                    f"{{value:,.0f}} payments to the account in {spoken}", w),
            feature(f"sum_{w}", f"sum of the payments to the account {span}", "major units",
                    f"{{value:,.2f}} received in {spoken}", w),
            feature(f"senders_{w}", f"different accounts that paid the account {span}", "accounts",
                    f"money from {{value:,.0f}} different accounts in {spoken}", w),
            feature(f"new_senders_{w}",
                    f"payments to the account {span} of accounts that had not paid it in the 30 days before",
                    "payments", f"{{value:,.0f}} first payments to the account by others in {spoken}", w),
        ]  # fmt: skip
    missing = "NaN without money received in this time"
    return (
        *features,
        feature("seconds_since_last", "time since the last payment to the account", "seconds",
                "{span} after money came in", missing="NaN without such a payment"),
        *(
            feature(f"passed_on_{w}",
                    f"account_sum_{w} divided by incoming_sum_{w}, at most 1: share of the money received that the "
                    "account has paid on, this payment included", "share",
                    f"{{value:.0%}} of the money received in {_SPOKEN[w]} paid on", w, missing)
            for w in PASSED_ON_WINDOWS
        ),
    )  # fmt: skip
