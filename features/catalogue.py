"""Every feature: name, meaning, unit, window, sources, sensitivity, and its value for missing input.

The order here is the order of the columns that the kernel fills, so the kernel, the training frame, the model contract
and the printed reference are all derived from this one tuple.
"""

import functools
import hashlib
from collections.abc import Iterable

from features.catalogue_live import live_features
from features.feature import Feature, Sensitivity
from vedette.clock import DAY, HOUR, MINUTE

LABEL_DELAY = 7 * DAY
"""Time that a label may take to arrive, unless the deployment says otherwise; features that use labels ignore anything
more recent."""
MOST_DELAY_DAYS = 30
"""Longest label delay: accounts remember 31 days, and entities as many hours as fit into a state."""

ACCOUNT_WINDOWS: dict[str, int] = {
    "1min": MINUTE,
    "10min": 10 * MINUTE,
    "1h": HOUR,
    "6h": 6 * HOUR,
    "1d": DAY,
    "7d": 7 * DAY,
    "30d": 30 * DAY,
}
ENTITY_WINDOWS: dict[str, int] = {"1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY}

ENTITIES: dict[str, str] = {
    "merchant": "merchant_id",
    "device": "device_id",
    "ip": "ip_address",
    "payee": "payee",
}
"""Kinds of entity with features across accounts, and the field of Transaction that identifies each."""

DELAYED = ("merchant", "device", "ip")
"""Kinds of entity that have delayed features, the first of ENTITIES; all have live ones."""

_SPOKEN = {
    "1min": "the last minute",
    "10min": "the last 10 minutes",
    "1h": "the last hour",
    "6h": "the last 6 hours",
    "1d": "the last day",
    "7d": "the last 7 days",
    "14d": "the last 14 days",
    "30d": "the last 30 days",
}


def _account_window(window: str) -> tuple[Feature, ...]:
    spoken = _SPOKEN[window]
    at_once = f"over (t - {window}, t], this payment included"

    def feature(what: str, meaning: str, unit: str, reason: str) -> Feature:
        return Feature(
            name=f"account_{what}_{window}",
            meaning=f"{meaning} {at_once}",
            unit=unit,
            window=window,
            sources=("account_id", "event_time") if what == "count" else ("account_id", "event_time", "amount"),
            reason=reason,
        )

    return (
        feature("count", "number of the account's payments", "payments", f"{{value:.0f}} payments in {spoken}"),
        feature(
            "sum",
            "sum of the account's amounts less what came back",
            "major units",
            f"{{value:,.2f}} spent in {spoken}",
        ),
        feature("mean", "mean of the account's amounts", "major units", f"mean of {{value:,.2f}} in {spoken}"),
        feature("max", "largest of the account's amounts", "major units", f"largest of {{value:,.2f}} in {spoken}"),
        feature(
            "std", "standard deviation of the amounts", "major units", f"amounts spread {{value:,.2f}} in {spoken}"
        ),
    )


def _familiarity(what: str, source: str) -> tuple[Feature, ...]:
    return (
        Feature(
            name=f"used_{what}_30d",
            meaning=f"earlier payments of the account with this {what} over (t - 30d, t]",
            unit="payments",
            window="30d",
            sources=("account_id", source),
            reason=f"{what} used {{value:.0f}} times by this account in the last 30 days",
            missing=f"NaN without {source}",
        ),
        Feature(
            name=f"is_new_{what}",
            meaning=f"1 if the account has earlier payments over (t - 30d, t], none of them with this {what}",
            unit="0 or 1",
            window="30d",
            sources=("account_id", source),
            reason=f"first payment with this {what}",
            missing=f"NaN without {source} or without earlier payments over these 30 days",
        ),
    )


def _distinct(what: str, source: str, window: str) -> Feature:
    return Feature(
        name=f"distinct_{what}_{window}",
        meaning=f"number of different {what} of the account over (t - {window}, t], this payment included",
        unit=what,
        window=window,
        sources=("account_id", source),
        reason=f"{{value:.0f}} different {what} in {_SPOKEN[window]}",
    )


def _entity(what: str) -> tuple[Feature, ...]:
    source = ENTITIES[what]
    place = {"merchant": "at the merchant", "device": "from the device", "ip": "from the IP address"}[what]
    sensitivity: Sensitivity = {"merchant": "none", "device": "behaviour", "ip": "location"}[what]  # type: ignore[assignment]

    def feature(
        name: str, meaning: str, unit: str, sources: str, reason: str, window: str = "30d", missing: str = ""
    ) -> Feature:
        return Feature(
            name=f"{what}_{name}",
            meaning=meaning.format(place=place, span=f"over (t - delay - {window}, t - delay]"),
            unit=unit,
            window=window,
            sources=(source, "event_time", *sources.split()),
            freshness="delayed",
            sensitivity=sensitivity,
            reason=reason.format(place=place, window=window),
            missing=f"NaN without {source}{missing}",
        )

    features: list[Feature] = []
    for window in ENTITY_WINDOWS:
        features += [
            feature("count_" + window, "payments {place} {span}", "payments", "",
                    "{{value:.0f}} payments {place} in {window} a week ago", window),
            feature("fraud_rate_" + window,
                    "share of confirmed frauds among the payments {place} {span}; 0 if there were none",
                    "share", "labels",
                    "{{value:.0%}} of the payments {place} in {window} a week ago were fraud", window),
        ]  # fmt: skip
    if what != "merchant":
        return (
            *features,
            feature("accounts_30d", "number of different accounts that paid {place} {span}", "accounts", "account_id",
                    "{{value:.0f}} accounts paid {place} in {window} a week ago"),
        )  # fmt: skip
    return (
        *features,
        feature("fraud_run", "confirmed frauds {place} {span} since its last other payment", "payments", "labels",
                "{{value:.0f}} frauds in a row {place}"),
        feature("fraud_run_days", "UTC midnights since the oldest of fraud_run", "days", "labels",
                "for {{value:.0f}} days nothing but frauds {place}", missing=" or when fraud_run is 0"),
        feature("honest_days", "UTC midnights since the last payment {place} {span} that is not a confirmed fraud",
                "days", "labels", "last honest payment {place} {{value:.0f}} days ago",
                missing=" or without such a payment"),
        feature("run_unusual",
                "minimum over fraud_run of the larger of amount_to_typical and largest_to_typical_14d at the time of "
                "the fraud, 1 if missing; in sixteenths, at most 15.94", "ratio", "account_id amount labels",
                "frauds {place} of at least {{value:.1f}} times their accounts' typical amounts",
                missing=" or when fraud_run is 0"),
        feature("run_amount", "smallest amount of the frauds of fraud_run", "major units", "amount currency labels",
                "frauds {place} of at least {{value:,.2f}}", missing=" or when fraud_run is 0"),
    )  # fmt: skip


def _one(name: str, meaning: str, unit: str, sources: str, reason: str, **more: str) -> Feature:
    return Feature(name=name, meaning=meaning, unit=unit, sources=tuple(sources.split()), reason=reason, **more)  # type: ignore[arg-type]


CATALOGUE: tuple[Feature, ...] = (
    _one("amount_major", "the amount", "major units", "amount currency", "amount of {value:,.2f}"),
    _one("hour", "hour of the day, UTC", "hours", "event_time", "at {value:.0f} o'clock UTC"),
    _one("weekday", "day of the week, Monday is 0, UTC", "days", "event_time", "on weekday {value:.0f}"),
    _one("is_night", "1 if the hour is at most 6, UTC", "0 or 1", "event_time", "at night"),
    _one("is_weekend", "1 on Saturday and Sunday, UTC", "0 or 1", "event_time", "at the weekend"),
    *(feature for window in ACCOUNT_WINDOWS for feature in _account_window(window)),
    _one(
        "amount_to_mean_30d",
        "amount divided by the mean of the account's earlier amounts over 30 days",
        "ratio",
        "account_id amount",
        "amount {value:.1f} times the account's usual",
        window="30d",
        missing="NaN without earlier payments or when their mean is 0",
    ),
    _one(
        "amount_to_max_30d",
        "amount divided by the largest of the account's earlier amounts over 30 days",
        "ratio",
        "account_id amount",
        "amount {value:.1f} times the account's largest in 30 days",
        window="30d",
        missing="NaN without earlier payments or when the largest is 0",
    ),
    _one(
        "amount_deviation_30d",
        "amount minus the mean of the account's earlier amounts, in their standard deviations, over 30 days",
        "standard deviations",
        "account_id amount",
        "amount {value:.1f} standard deviations above the account's usual",
        window="30d",
        missing="NaN with fewer than 2 earlier payments or when they do not vary",
    ),
    _one(
        "amount_rank_30d",
        "share of the account's earlier amounts over 30 days that are smaller",
        "share",
        "account_id amount",
        "larger than {value:.0%} of the account's payments in 30 days",
        window="30d",
        missing="NaN without earlier payments",
    ),
    _one("account_typical",
         "running mean of the account's amounts before this one, each counted as at most 3 times the mean so far "
         "(the first 3 in full), over the last 200 or so",
         "major units", "account_id amount", "the account's typical amount is {value:,.2f}",
         missing="NaN without an earlier payment or when it is 0"),
    _one("amount_to_typical", "amount divided by account_typical", "ratio", "account_id amount",
         "amount {value:.1f} times the account's typical", missing="NaN where account_typical is"),
    _one("largest_to_typical_14d",
         "largest of the account's earlier amounts over (t - 14d, t] divided by account_typical; 0 if there is none",
         "ratio", "account_id amount event_time", "{value:.1f} times the account's typical amount in the last 14 days",
         window="14d", missing="NaN where account_typical is"),
    *(
        _one(
            f"unusual_count_{window}",
            f"earlier payments of the account over (t - {window}, t] of more than 3 times account_typical",
            "payments",
            "account_id amount event_time",
            f"{{value:.0f}} unusually large payments in {_SPOKEN[window]}",
            window=window,
        )
        for window in ("7d", "14d")
    ),
    _one(
        "seconds_since_last",
        "time since the account's previous payment",
        "seconds",
        "account_id event_time",
        "{span} after the previous payment",
        missing="NaN without an earlier payment within 30 days",
    ),
    _one(
        "gap_to_mean_30d",
        "time since the previous payment divided by the mean gap over 30 days",
        "ratio",
        "account_id event_time",
        "gap of {value:.2f} times the usual since the previous payment",
        window="30d",
        missing="NaN with fewer than 2 earlier payments or when they coincide",
    ),
    _one(
        "burst_1h",
        "payments in the last hour divided by the account's mean hourly number over 30 days",
        "ratio",
        "account_id event_time",
        "{value:.0f} times the usual pace in the last hour",
        window="30d",
    ),
    _one(
        "hour_habit_30d",
        "share of the account's earlier payments over 30 days within one hour of this time of day",
        "share",
        "account_id event_time",
        "{value:.0%} of the account's payments happen at this time of day",
        window="30d",
        missing="NaN without earlier payments",
    ),
    _one(
        "hour_of_week_count_30d",
        "earlier payments over 30 days in the same hour of the week",
        "payments",
        "account_id event_time",
        "{value:.0f} earlier payments at this hour of the week",
        window="30d",
    ),
    *_familiarity("merchant", "merchant_id"),
    *_familiarity("category", "mcc"),
    *_familiarity("device", "device_id"),
    *_familiarity("country", "country"),
    *_familiarity("payee", "payee"),
    _distinct("merchants", "merchant_id", "1d"),
    _distinct("merchants", "merchant_id", "7d"),
    _distinct("devices", "device_id", "7d"),
    _distinct("countries", "country", "7d"),
    _distinct("payees", "payee", "7d"),
    _one(
        "distance_km",
        "great-circle distance from the account's last place",
        "kilometres",
        "account_id lat lon",
        "{value:,.0f} km from the last place",
        sensitivity="location",
        missing="NaN without lat and lon, without an earlier place, or for an event older than it or repeated",
    ),
    _one(
        "speed_kmh",
        "distance_km divided by the time since then, at least one second",
        "kilometres per hour",
        "account_id lat lon event_time",
        "travelled at {value:,.0f} km/h since the last payment",
        sensitivity="location",
        missing="as distance_km",
    ),
    _one("day_total", "sum of the account's amounts less what came back, in this UTC day", "major units",
         "account_id amount event_time", "{value:,.2f} spent today"),
    _one("month_total", "sum of the account's amounts less what came back, in this UTC month", "major units",
         "account_id amount event_time", "{value:,.2f} spent this month"),
    *(
        _one(
            f"{period}_to_limit",
            f"{period}_total divided by the lowest {word} limit of the policy that concerns the account",
            "ratio",
            "account_id account_type currency amount event_time",
            f"{{value:.0%}} of the {word} limit",
            missing="NaN without such a limit",
        )
        for period, word in (("day", "daily"), ("month", "monthly"))
    ),
    _one("amount_to_balance", "amount divided by the balance before the payment", "ratio", "amount balance",
         "{value:.0%} of the balance", missing="NaN without balance or when it is not positive"),
    _one("drain_1d", "last day's amounts divided by the balance the account had before them", "ratio",
         "account_id amount balance", "{value:.0%} of the balance spent in a day",
         window="1d", missing="NaN without balance or when it is not positive"),
    _one("account_age_days", "time since the account was opened", "days", "account_opened_at event_time",
         "account opened {value:.0f} days ago", missing="NaN without account_opened_at"),
    _one("account_lifetime_count", "payments of the account since Vedette first saw it, up to this one", "payments",
         "account_id", "{value:.0f} payments since the account was first seen"),
    _one("account_mean_lifetime", "mean of all the account's amounts up to this one", "major units",
         "account_id amount", "mean of {value:,.2f} since the account was first seen"),
    _one("account_frauds", "confirmed frauds on the account up to t - delay", "payments", "account_id labels",
         "{value:.0f} confirmed frauds on the account"),
    *(feature for what in DELAYED for feature in _entity(what)),
    *live_features(ENTITIES),
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE)
LIVE: frozenset[str] = frozenset(feature.name for feature in CATALOGUE if feature.freshness == "live")
SETTLED: tuple[str, ...] = tuple(name for name in NAMES if name not in LIVE)
"""The features that are not live: online and offline they are equal to the bit, but for two cases; see reference."""


@functools.cache
def catalogue_hash(label_delay: int = LABEL_DELAY) -> str:
    """Return a hash of the ordered features and their versions.

    Args:
        label_delay: The label delay in force, milliseconds; it is part of what the features mean.
    """
    return _hash(CATALOGUE, label_delay)


def hash_for(names: Iterable[str], label_delay: int = LABEL_DELAY) -> str:
    """Return the hash that the contract of a model with these features has; a model with another one is refused.

    The live features come last in the catalogue, and a model that uses none of them does not depend on them.
    """
    if LIVE.isdisjoint(names):
        return _hash((feature for feature in CATALOGUE if feature.freshness != "live"), label_delay)
    return catalogue_hash(label_delay)


def _hash(features: Iterable[Feature], label_delay: int) -> str:
    text = "\n".join(f"{feature.name}:{feature.version}" for feature in features)
    text += "" if label_delay == LABEL_DELAY else f"\nlabel delay:{label_delay}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
