"""What can be said of a payment: each statement is true and unusual, or it is not made.

A statement looks at the features of one payment and returns its values, or None where the payment is as usual: compared
with the account's own last thirty days where they say enough, and with the payments of training otherwise. Absent
values are NaN, for which every comparison is false, so nothing is said of them.
"""

import math
from collections.abc import Callable, Sequence

from features.catalogue import ACCOUNT_WINDOWS, NAMES
from models.usual import Usual
from vedette.clock import DAY
from vedette.events import EXTRA
from vedette.money import exponent
from vedette.wording import Value

Values = dict[str, Value]

_COLUMN = {name: column for column, name in enumerate(NAMES)}
_DAYS = {window: length / DAY for window, length in ACCOUNT_WINDOWS.items()}
_S_PER_DAY = 86_400.0
_HABIT = 20
"""Payments in thirty days from which on an account has habits by time of day."""
_KNOWN = 3
"""Payments in thirty days from which on something can be new to an account."""
_SURPRISE = 6.0
"""Deviance of a Poisson number from which on a count is no accident: such counts are rarer than 1 in 400."""


class Facts:
    """The features of one payment.

    Args:
        row: Values in the order of the catalogue, then vendor features.
        usual: What is usual for all payments.
        currency: The currency of the payment, in which amounts are stated.
    """

    __slots__ = ("_exponent", "_row", "currency", "usual")

    def __init__(self, row: Sequence[float], usual: Usual, currency: str) -> None:
        self._row = row
        self.usual = usual
        self.currency = currency
        self._exponent = exponent(currency)

    def __getitem__(self, name: str) -> float:
        return self._row[_COLUMN[name]]

    def above(self, name: str, least: float, percent: int = 95) -> bool:
        """Return whether a feature is at least `least`, and above `percent` per cent of all payments."""
        value = self[name]
        return value >= least and self.usual.above(name, value, percent)

    def money(self, **amounts: float) -> Values:
        """Return amounts in major units as values of a statement: minor units, and their currency."""
        minor: Values = {name: round(amount * 10**self._exponent) for name, amount in amounts.items()}
        return minor | {"currency": self.currency}

    @property
    def delay_s(self) -> float:
        """Return the label delay of the model, seconds."""
        return self.usual.label_delay_s

    @property
    def earlier(self) -> int:
        """Return the number of the account's payments in the thirty days before this one."""
        count = self["account_count_30d"]
        return 0 if math.isnan(count) else int(count) - 1


# The amount


def amount_high(f: Facts) -> Values | None:
    """Compare the amount with the account's typical one, and with its other amounts."""
    ratio, rank = f["amount_to_typical"], f["amount_rank_30d"]
    if f.above("amount_to_typical", 3.0) or (ratio >= 2.0 and rank >= 0.95):
        return {"ratio": short(ratio)} | f.money(amount=f["amount_major"], usual=f["account_typical"])
    return None


def amount_small(f: Facts) -> Values | None:
    """Compare the amount with the account's typical one; an account may have several small ones."""
    ratio = f["amount_to_typical"]
    if ratio <= 0.1 and f["amount_rank_30d"] <= 0.25 and f.usual.below("amount_to_typical", ratio, 5):
        return f.money(amount=f["amount_major"], usual=f["account_typical"])
    return None


def amount_large(f: Facts) -> Values | None:
    """Compare the amount with all payments in its currency."""
    # Amounts in several currencies have no quantiles that mean anything.
    if f.currency == f.usual.currency and f.above("amount_major", 0.0, 98):
        return f.money(amount=f["amount_major"], usual=f.usual.at("amount_major", 98))
    return None


def large_recently(f: Facts) -> Values | None:
    """Count the unusually large payments of the account in the fourteen days before."""
    if f.above("unusual_count_14d", 1):
        largest = f["largest_to_typical_14d"] * f["account_typical"]
        return {"count": int(f["unusual_count_14d"])} | f.money(largest=largest, usual=f["account_typical"])
    return None


def spending_high(f: Facts) -> Values | None:
    """Compare spending within a day or a week with that of the account's other days."""
    best: float = 3.0
    said: Values | None = None
    for window, days in (("1h", 1.0), ("6h", 1.0), ("1d", 1.0), ("7d", 7.0)):
        spent = f[f"account_sum_{window}"]
        usual = (f["account_sum_30d"] - spent) / (30 - _DAYS[window])
        several = f[f"account_count_{window}"] >= 2 and spent >= 1.5 * f["amount_major"]
        if several and usual > 0 and spent / (usual * days) >= best:
            best = spent / (usual * days)
            said = f.money(spent=spent, usual=usual)
            said["window"] = window
    return said


# Balance and limits


def balance_exceeded(f: Facts) -> Values | None:
    """Compare the amount with a balance that is too low for it."""
    share = f["amount_to_balance"]
    if f.above("amount_to_balance", 1.0 + 1e-9):
        return f.money(amount=f["amount_major"], balance=f["amount_major"] / share)
    return None


def balance_spent(f: Facts) -> Values | None:
    """Compare the amount with the balance."""
    if f.above("amount_to_balance", 0.5, 98):
        return {"share": short(f["amount_to_balance"]), "usual": short(f.usual.at("amount_to_balance", 98))}
    return None


def balance_drained(f: Facts) -> Values | None:
    """Compare the last day's spending with the balance before it."""
    if f.above("drain_1d", 0.5, 98) and f["drain_1d"] <= 1.0:
        return {"share": short(f["drain_1d"]), "usual": short(f.usual.at("drain_1d", 98))}
    return None


def limit_near(column: str) -> Callable[[Facts], Values | None]:
    """Return the statement that a limit of the policy is nearly spent."""
    return lambda f: {"share": short(f[column])} if f.above(column, 0.8, 90) else None


# Pace


def payments_many(f: Facts) -> Values | None:
    """Compare the numbers of payments in each window with the account's pace outside it; the most surprising one."""
    best: float = _SURPRISE
    said: Values | None = None
    for window, days in _DAYS.items():
        count = f[f"account_count_{window}"]
        usual = (f["account_count_30d"] - count) / (30 - days) if days < 30 else math.nan
        if usual > 0 and f.above(f"account_count_{window}", 3) and count > usual * days:
            surprise = count * math.log(count / (usual * days)) - (count - usual * days)
            if surprise >= best:
                best, said = surprise, {"window": window, "count": int(count), "usual": short(usual)}
    return said


def payments_sudden(f: Facts) -> Values | None:
    """Count payments of an account that made none in the thirty days before them."""
    total = f["account_count_30d"]
    for window in ("10min", "1h", "6h", "1d"):
        if f[f"account_count_{window}"] == total and f.above(f"account_count_{window}", 3):
            return {"window": window, "count": int(total)}
    return None


def payments_close(f: Facts) -> Values | None:
    """Compare the time since the previous payment with the account's mean gap."""
    seconds, ratio = f["seconds_since_last"], f["gap_to_mean_30d"]
    if 0 < ratio <= 0.02 and seconds <= 3600 and f.usual.below("seconds_since_last", seconds, 5):
        return {"gap": short(seconds), "usual": short(seconds / ratio)}
    return None


def account_dormant(f: Facts) -> Values | None:
    """Compare a long time since the previous payment with the account's mean gap."""
    if f.above("gap_to_mean_30d", 5.0) and f["seconds_since_last"] >= 3 * _S_PER_DAY:
        seconds = f["seconds_since_last"]
        return {"gap": short(seconds), "usual": short(seconds / f["gap_to_mean_30d"])}
    return None


# Time of day


def hour_never(f: Facts) -> Values | None:
    """Compare the time of day with that of all the account's payments."""
    if f["hour_habit_30d"] == 0 and f.earlier >= _HABIT:
        return {"hour": int(f["hour"]), "of": f.earlier}
    return None


def hour_rare(f: Facts) -> Values | None:
    """Compare the time of day with that of nearly all the account's payments."""
    if 0 < f["hour_habit_30d"] <= 0.02 and f.earlier >= _HABIT:
        return {"hour": int(f["hour"]), "seen": round(f["hour_habit_30d"] * f.earlier), "of": f.earlier}
    return None


# What is new to the account


def new(what: str) -> Callable[[Facts], Values | None]:
    """New to the account, where at most one payment in ten is new in this way."""
    name = f"is_new_{what}"

    def values(f: Facts) -> Values | None:
        return {"of": f.earlier} if f.above(name, 1.0, 90) and f.earlier >= _KNOWN else None

    return values


def many(what: str, windows: tuple[str, ...], least: int) -> Callable[[Facts], Values | None]:
    """Return the statement that an account has used many different ones of something."""

    def values(f: Facts) -> Values | None:
        for window in windows:
            name = f"distinct_{what}_{window}"
            if f.above(name, least):
                return {"count": int(f[name]), "window": window, "usual": short(f.usual.at(name, 95))}
        return None

    return values


# Place


def travel_impossible(f: Facts) -> Values | None:
    """Compare the distance from the previous payment with what an aircraft covers in the time."""
    distance, speed = f["distance_km"], f["speed_kmh"]
    if speed >= 1000 and distance >= 100:
        return {"distance": round(distance), "gap": short(distance / speed * 3600)}
    return None


def place_far(f: Facts) -> Values | None:
    """Compare the distance from the previous payment with that of all payments."""
    if f.above("distance_km", 100.0, 98):
        return {"distance": round(f["distance_km"]), "usual": short(f.usual.at("distance_km", 98))}
    return None


# The account


def account_young(f: Facts) -> Values | None:
    """Compare the age of the account with a month."""
    age = f["account_age_days"]
    return {"age": short(age * _S_PER_DAY)} if 0 <= age <= 30 and f.usual.below("account_age_days", age, 5) else None


def account_first(f: Facts) -> Values | None:
    """Recognise the first payment of an account."""
    return {} if f["account_lifetime_count"] == 1 and f.usual.below("account_lifetime_count", 1, 5) else None


def account_few(f: Facts) -> Values | None:
    """Count the payments of an account that has made few."""
    count = f["account_lifetime_count"]
    return {"count": int(count)} if 1 < count <= 5 and f.usual.below("account_lifetime_count", count, 5) else None


def account_frauds(f: Facts) -> Values | None:
    """Count the confirmed frauds of the account."""
    return {"count": int(f["account_frauds"])} if f["account_frauds"] >= 1 else None


# Merchant, device and address, up to the label delay ago


def frauds(entity: str) -> Callable[[Facts], Values | None]:
    """Return the statement that payments at a merchant, from a device or an address were fraud."""

    def values(f: Facts) -> Values | None:
        for window in ("30d", "7d", "1d"):
            name, of = f"{entity}_fraud_rate_{window}", f[f"{entity}_count_{window}"]
            if of >= 1 and (frauds := round(f[name] * of)) >= 1 and f.above(name, 0.0):
                usual = f.usual.at(name, 95)
                return {
                    "frauds": frauds, "of": int(of), "share": short(f[name]), "window": window, "delay": f.delay_s,
                    "usual": short(usual),
                }  # fmt: skip
        return None

    return values


def fraud_run(f: Facts) -> Values | None:
    """Count the frauds in a row at the merchant."""
    if f.above("merchant_fraud_run", 2):
        since = f["merchant_fraud_run_days"] * _S_PER_DAY
        return {"run": int(f["merchant_fraud_run"]), "since": short(since), "delay": f.delay_s}
    return None


def last_fraud(f: Facts) -> Values | None:
    """Recognise a merchant whose last known payment was fraud."""
    return {"delay": f.delay_s} if f["merchant_fraud_run"] == 1 and f.above("merchant_fraud_run", 1) else None


def merchant_surge(f: Facts) -> Values | None:
    """Compare the merchant's payments in a day with its other days."""
    count, month = f["merchant_count_1d"], f["merchant_count_30d"]
    usual = (month - count) / 29
    if f.above("merchant_count_1d", 20) and 0 < usual <= count / 5:
        return {"count": int(count), "usual": short(usual), "delay": f.delay_s}
    return None


def shared(entity: str) -> Callable[[Facts], Values | None]:
    """Return the statement that many accounts have paid from a device or an address."""
    return counted(f"{entity}_accounts_30d", 3, 95)


def counted(name: str, least: int, percent: int) -> Callable[[Facts], Values | None]:
    """Return the statement that a count is among the highest of all payments."""

    def values(f: Facts) -> Values | None:
        if f.above(name, least, percent):
            return {"count": int(f[name]), "usual": short(f.usual.at(name, percent))}
        return None

    return values


def vendor_statement(name: str, value: float, usual: Usual) -> tuple[str, Values] | None:
    """Return code and values of the statement on a vendor feature, None if the value is as usual."""
    vendor = name.removeprefix(EXTRA)
    for code, percent, outside in (("vendor-high", 98, usual.above), ("vendor-low", 2, usual.below)):
        limit = usual.at(name, percent)
        if not math.isnan(limit) and outside(name, value, percent):
            return code, {"name": vendor, "value": short(value), "usual": short(limit)}
    return None


def short(value: float) -> float:
    """Return a value with six significant digits, which is what a text can show at most."""
    return float(f"{value:.6g}")
