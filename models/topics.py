"""Topics: features of similar meaning, whose contributions are added up, with what can be said of them."""

from collections.abc import Mapping, Sequence

from features.catalogue import ACCOUNT_WINDOWS
from models.live_topics import live_topics
from models.reason_topic import ReasonTopic, Statement
from models.statements import (
    Facts,
    Values,
    account_dormant,
    account_few,
    account_first,
    account_frauds,
    account_young,
    amount_high,
    amount_large,
    amount_small,
    balance_drained,
    balance_exceeded,
    balance_spent,
    counted,
    fraud_run,
    frauds,
    hour_never,
    hour_rare,
    large_recently,
    last_fraud,
    limit_near,
    many,
    merchant_surge,
    new,
    payments_close,
    payments_many,
    payments_sudden,
    place_far,
    shared,
    spending_high,
    travel_impossible,
)


def _entity(entity: str, spoken: str) -> tuple[ReasonTopic, ...]:
    return (
        ReasonTopic(_rates(entity), (Statement(f"{spoken}-frauds", frauds(entity)),)),
        ReasonTopic((f"{entity}_accounts_30d",), (Statement(f"{spoken}-shared", shared(entity)),)),
        ReasonTopic(
            tuple(f"{entity}_count_{window}" for window in ("1d", "7d", "30d")),
            (
                Statement(f"{spoken}-shared", shared(entity)),
                Statement(f"{spoken}-busy", counted(f"{entity}_count_30d", 50, 98)),
            ),
        ),
    )


def _rates(entity: str) -> tuple[str, ...]:
    return tuple(f"{entity}_fraud_rate_{window}" for window in ("1d", "7d", "30d"))


def _windows(*what: str) -> tuple[str, ...]:
    return tuple(f"account_{one}_{window}" for one in what for window in ACCOUNT_WINDOWS)


TOPICS: tuple[ReasonTopic, ...] = (
    ReasonTopic(
        ("amount_major", "amount_to_mean_30d", "amount_to_max_30d", "amount_deviation_30d", "amount_rank_30d",
         "account_typical", "amount_to_typical", "account_mean_lifetime", *_windows("max", "mean", "std")),
        (
            Statement("amount-high", amount_high),
            Statement("amount-large", amount_large),
            Statement("amount-small", amount_small),
        ),
    ),
    ReasonTopic(
        ("largest_to_typical_14d", "unusual_count_7d", "unusual_count_14d"),
        (Statement("large-recently", large_recently),),
    ),
    ReasonTopic((*_windows("sum"), "day_total", "month_total"), (Statement("spending-high", spending_high),)),
    ReasonTopic(
        ("amount_to_balance", "drain_1d"),
        (
            Statement("balance-exceeded", balance_exceeded),
            Statement("balance-spent", balance_spent),
            Statement("balance-drained", balance_drained),
        ),
    ),
    ReasonTopic(
        ("day_to_limit", "month_to_limit"),
        (
            Statement("limit-daily-near", limit_near("day_to_limit")),
            Statement("limit-monthly-near", limit_near("month_to_limit")),
        ),
    ),
    ReasonTopic(
        (*_windows("count"), "burst_1h"),
        (Statement("payments-many", payments_many), Statement("payments-sudden", payments_sudden)),
    ),
    ReasonTopic(
        ("seconds_since_last", "gap_to_mean_30d"),
        (Statement("payments-close", payments_close), Statement("account-dormant", account_dormant)),
    ),
    ReasonTopic(
        ("hour", "weekday", "is_night", "is_weekend", "hour_habit_30d", "hour_of_week_count_30d"),
        (Statement("hour-never", hour_never), Statement("hour-rare", hour_rare)),
    ),
    *(
        ReasonTopic((f"used_{what}_30d", f"is_new_{what}"), (Statement(f"{what}-new", new(what)),))
        for what in ("merchant", "category", "device", "country", "payee")
    ),
    ReasonTopic(
        ("distinct_merchants_1d", "distinct_merchants_7d"),
        (Statement("merchants-many", many("merchants", ("1d", "7d"), 4)),),
    ),
    *(
        ReasonTopic((f"distinct_{what}_7d",), (Statement(f"{what}-many", many(what, ("7d",), least)),))
        for what, least in (("devices", 2), ("countries", 3), ("payees", 4))
    ),
    ReasonTopic(
        ("distance_km", "speed_kmh"),
        (Statement("travel-impossible", travel_impossible), Statement("place-far", place_far)),
    ),
    ReasonTopic(("account_age_days",), (Statement("account-young", account_young),)),
    ReasonTopic(
        ("account_lifetime_count",),
        (Statement("account-first", account_first), Statement("account-few", account_few)),
    ),
    ReasonTopic(("account_frauds",), (Statement("account-frauds", account_frauds),)),
    ReasonTopic(
        ("merchant_fraud_run", "merchant_fraud_run_days", "merchant_honest_days", "merchant_run_unusual",
         "merchant_run_amount", *_rates("merchant")),
        (
            Statement("merchant-fraud-run", fraud_run),
            Statement("merchant-frauds", frauds("merchant")),
            Statement("merchant-last-fraud", last_fraud),
        ),
    ),
    ReasonTopic(
        tuple(f"merchant_count_{window}" for window in ("1d", "7d", "30d")),
        (Statement("merchant-surge", merchant_surge),),
    ),
    *_entity("device", "device"),
    *_entity("ip", "address"),
    *live_topics(),
)  # fmt: skip
"""Every feature of the catalogue belongs to one topic; the contributions of its features are added up."""


def statement(topic: ReasonTopic, facts: Facts) -> tuple[str, Values] | None:
    """Return code and values of the first statement of a topic that holds for a payment."""
    for one in topic.statements:
        if (values := one.values(facts)) is not None:
            return one.code, values
    return None


def topic_of(names: Sequence[str]) -> Mapping[str, int]:
    """Return the index in TOPICS of each feature that belongs to one."""
    found = {feature: number for number, topic in enumerate(TOPICS) for feature in topic.features}
    return {name: found[name] for name in names if name in found}
