"""Statistics of a data set: distributions, missing values, outliers, imbalance, relation to fraud, drift over weeks."""

from collections.abc import Mapping

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.stats import rankdata

from models.drift import stability_index
from vedette.clock import DAY, HOUR
from vedette.errors import InputError
from vedette.events import EXTRA
from vedette.money import exponent

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Levels of the quantiles of a number."""
GROUPS = ("kind", "channel", "country", "account_type", "mcc", "currency", "scenario")
"""Columns whose values are named. Those that identify a person or a shop are only counted."""
IDENTIFIERS = ("transaction_id", "account_id", "merchant_id", "payee", "device_id", "ip_address", "original_id")
_MOST_GROUPS = 30
_BINS = 60
_FENCE = 1.5
"""Interquartile ranges beyond the quartiles at which an outlier begins (Tukey 1977)."""
_WEEK = 7 * DAY
_FIRST_MONDAY = 4 * DAY
"""1970-01-05, from which weeks are counted."""

Floats = NDArray[np.float64]


class NumberStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A column of numbers.

    Attributes:
        name: Its name; money is in major units.
        missing: Share of missing values.
        distinct: Number of different values.
        mean: Mean of the known values, as `deviation`, their standard deviation.
        least: Smallest known value.
        largest: Largest known value.
        quantiles: At LEVELS.
        outliers: Share of known values beyond Tukey's fences.
        correlation: With fraud (point-biserial), on labelled payments; None where it is not defined.
        auc: Probability that a fraud has a larger value than an honest payment; None likewise.
        edges: Borders of the bins of the histogram.
        honest: Number of honest and unlabelled payments by bin.
        fraud: Number of frauds by bin.
    """

    name: str
    missing: float
    distinct: int
    mean: float | None
    deviation: float | None
    least: float | None
    largest: float | None
    quantiles: list[float]
    outliers: float
    correlation: float | None
    auc: float | None
    edges: list[float]
    honest: list[int]
    fraud: list[int]


class GroupStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Payments and frauds of one value of a column; the value of the rest is empty."""

    value: str
    payments: int
    frauds: int


class TextStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A column of text: its share of missing values, number of different ones, and the most frequent, if not an id."""

    name: str
    missing: float
    distinct: int
    groups: list[GroupStatistics]


class AmountsOfHour(msgspec.Struct, frozen=True, kw_only=True):
    """Amounts of a class in an hour of the day (UTC): quantiles at 0.05, 0.25, 0.5, 0.75, 0.95, major units."""

    hour: int
    fraud: bool
    payments: int
    quantiles: list[float]


class WeekStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A week from Monday, UTC.

    Attributes:
        start: Milliseconds.
        payments: Their number, as `frauds`.
        median_amount: Major units.
        drift: Population stability index against the first complete week, by column: below 0.1 is stable, above 0.25
            has moved.
    """

    start: int
    payments: int
    frauds: int
    median_amount: float
    drift: dict[str, float]


class DatasetStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of a data set.

    Attributes:
        payments: Number of rows.
        accounts: Number of accounts.
        first: First event time, as `last`, milliseconds.
        labelled: Rows with a label.
        frauds: Frauds.
        fraud_value: Their value by currency, minor units.
        currency: The most frequent currency, which amounts by hour, bin and week are of.
        numbers: Columns of numbers.
        texts: Columns of text.
        hours: Amounts by hour and class.
        weeks: In order.
    """

    payments: int
    accounts: int
    first: int
    last: int
    labelled: int
    frauds: int
    fraud_value: dict[str, int]
    currency: str
    numbers: list[NumberStatistics]
    texts: list[TextStatistics]
    hours: list[AmountsOfHour]
    weeks: list[WeekStatistics]

    @property
    def imbalance(self) -> float | None:
        """Number of labelled honest payments for each fraud; None without fraud."""
        return (self.labelled - self.frauds) / self.frauds if self.frauds else None


def describe(rows: pa.Table) -> DatasetStatistics:
    """Return the statistics of payments.

    Args:
        rows: Columns named like the fields of Transaction, `fraud` if labels are known, and any `extra.*`.

    Raises:
        InputError: There are no rows.
    """
    if not len(rows):
        raise InputError("there is no payment to describe", remedy="check the file, its mapping and the time span")
    known = rows["fraud"] if "fraud" in rows.column_names else pa.nulls(len(rows), pa.bool_())
    labelled = pc.is_valid(known).to_numpy()
    fraud = pc.fill_null(known, False).to_numpy()
    currency: str = pc.mode(rows["currency"].dictionary_encode().combine_chunks().indices)[0]["mode"].as_py()
    codes = rows["currency"].dictionary_encode().combine_chunks()
    name: str = codes.dictionary[currency].as_py()
    own = codes.indices.to_numpy() == currency
    time = rows["event_time"].to_numpy()
    columns = _numbers(rows, own, name)
    amount = columns["amount"]
    return DatasetStatistics(
        payments=len(rows),
        accounts=pc.count_distinct(rows["account_id"]).as_py(),
        first=int(time.min()),
        last=int(time.max()),
        labelled=int(labelled.sum()),
        frauds=int(fraud.sum()),
        fraud_value=_value(rows, fraud),
        currency=name,
        numbers=[number(column, values, fraud, labelled) for column, values in columns.items()],
        texts=[_text(rows, column, fraud) for column in (*GROUPS, *IDENTIFIERS) if column in rows.column_names],
        hours=_hours(time, amount, fraud),
        weeks=_weeks(rows, time, amount, fraud),
    )


def number(name: str, values: Floats, fraud: NDArray[np.bool_], labelled: NDArray[np.bool_]) -> NumberStatistics:
    """Return the statistics of one column, float64[n], NaN where it is missing."""
    there = ~np.isnan(values)
    known = values[there]
    quantiles = np.quantile(known, LEVELS) if len(known) else np.empty(0)
    outside = np.zeros(0, np.bool_)
    if len(known):
        low, high = quantiles[2], quantiles[4]
        outside = (known < low - _FENCE * (high - low)) | (known > high + _FENCE * (high - low))
    edges = _edges(known)
    judged = there & labelled
    correlation, auc = _with_fraud(values[judged], fraud[judged])
    return NumberStatistics(
        name=name,
        missing=float(1 - there.mean()),
        distinct=len(np.unique(known)),
        mean=float(known.mean()) if len(known) else None,
        deviation=float(known.std()) if len(known) else None,
        least=float(known.min()) if len(known) else None,
        largest=float(known.max()) if len(known) else None,
        quantiles=quantiles.tolist(),
        outliers=float(outside.mean()) if len(outside) else 0.0,
        correlation=correlation,
        auc=auc,
        edges=edges.tolist(),
        honest=np.histogram(values[there & ~fraud], edges)[0].tolist() if len(known) else [],
        fraud=np.histogram(values[there & fraud], edges)[0].tolist() if len(known) else [],
    )


def _numbers(rows: pa.Table, own: NDArray[np.bool_], currency: str) -> dict[str, Floats]:
    """Return columns of numbers; money in major units, and missing in other currencies."""
    time, scale = rows["event_time"].to_numpy(), 10.0 ** exponent(currency)
    columns = {"amount": np.where(own, _floats(rows["amount"]) / scale, np.nan)}
    columns["hour"] = (time % DAY) // HOUR * 1.0
    columns["weekday"] = ((time - _FIRST_MONDAY) // DAY % 7) * 1.0
    if "balance" in rows.column_names:
        columns["balance"] = np.where(own, _floats(rows["balance"]) / scale, np.nan)
    if "account_opened_at" in rows.column_names:
        columns["account_age_days"] = (time - _floats(rows["account_opened_at"])) / DAY
    for name in rows.column_names:
        if name in {"lat", "lon"} or name.startswith(EXTRA):
            columns[name] = _floats(rows[name])
    return {name: values for name, values in columns.items() if name == "amount" or not np.isnan(values).all()}


def _floats(column: pa.ChunkedArray) -> Floats:
    values: Floats = column.cast(pa.float64()).to_numpy()
    return values


def _edges(known: Floats) -> Floats:
    """Return borders of bins: of equal width, or of equal ratio where values range over more than two powers of ten."""
    if not len(known):
        return np.empty(0)
    least, largest = float(known.min()), float(known.max())
    positive = known[known > 0]
    if least >= 0 and len(positive) and largest > 100 * max(float(np.quantile(positive, 0.05)), 1e-9):
        start = max(float(np.quantile(positive, 0.01)), largest * 1e-9)
        return np.unique([min(least, start), *np.geomspace(start, largest, _BINS)])
    return np.linspace(least, largest if largest > least else least + 1, min(_BINS, len(np.unique(known)) + 1))


def _with_fraud(values: Floats, fraud: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Return correlation and AUC; None where there is only one class or one value."""
    frauds = int(fraud.sum())
    if frauds in (0, len(fraud)) or values.min() == values.max():
        return None, None
    ranks = rankdata(values)
    auc = (ranks[fraud].sum() - frauds * (frauds + 1) / 2) / (frauds * (len(fraud) - frauds))
    return float(np.corrcoef(values, fraud)[0, 1]), float(auc)


def _text(rows: pa.Table, name: str, fraud: NDArray[np.bool_]) -> TextStatistics:
    encoded = rows[name].dictionary_encode().combine_chunks()
    missing, distinct = encoded.null_count / len(encoded), len(encoded.dictionary)
    groups: list[GroupStatistics] = []
    if name in GROUPS:
        index = pc.fill_null(encoded.indices, distinct).to_numpy()
        payments = np.bincount(index, minlength=distinct + 1)
        frauds = np.bincount(index[fraud], minlength=distinct + 1)
        values = [*encoded.dictionary.to_pylist(), "missing"]
        order = [place for place in np.argsort(-payments, kind="stable").tolist() if payments[place]]
        groups = [
            GroupStatistics(value=values[place], payments=int(payments[place]), frauds=int(frauds[place]))
            for place in order[:_MOST_GROUPS]
        ]
        if rest := order[_MOST_GROUPS:]:
            rare = GroupStatistics(value="", payments=int(payments[rest].sum()), frauds=int(frauds[rest].sum()))
            groups.append(rare)
    return TextStatistics(name=name, missing=missing, distinct=distinct, groups=groups)


def _value(rows: pa.Table, fraud: NDArray[np.bool_]) -> dict[str, int]:
    sums = (
        rows.select(["currency", "amount"]).filter(pa.array(fraud)).group_by("currency").aggregate([("amount", "sum")])
    )
    return dict(sorted(zip(sums["currency"].to_pylist(), sums["amount_sum"].to_pylist(), strict=True)))


def _hours(time: NDArray[np.int64], amount: Floats, fraud: NDArray[np.bool_]) -> list[AmountsOfHour]:
    hours, known = time % DAY // HOUR, ~np.isnan(amount)
    found = []
    for hour in range(24):
        for is_fraud in (False, True):
            amounts = amount[(hours == hour) & (fraud == is_fraud) & known]
            if len(amounts):
                quantiles = np.quantile(amounts, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()
                found.append(AmountsOfHour(hour=hour, fraud=is_fraud, payments=len(amounts), quantiles=quantiles))
    return found


def _weeks(rows: pa.Table, time: NDArray[np.int64], amount: Floats, fraud: NDArray[np.bool_]) -> list[WeekStatistics]:
    week = (time - _FIRST_MONDAY) // _WEEK
    codes: dict[str, NDArray[np.int64]] = {"hour": time % DAY // HOUR}
    known = amount[~np.isnan(amount)]
    codes["amount"] = np.searchsorted(np.unique(np.quantile(known, np.linspace(0.1, 0.9, 9))), amount)
    for name in ("channel", "country", "mcc"):
        if name in rows.column_names and rows[name].null_count < len(rows):
            encoded = rows[name].dictionary_encode().combine_chunks()
            codes[name] = pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy()
    numbers = np.unique(week)
    first = int(numbers[min(1, len(numbers) - 1)])  # the very first is seldom complete
    return [
        WeekStatistics(
            start=int(number) * _WEEK + _FIRST_MONDAY,
            payments=int((inside := week == number).sum()),
            frauds=int(fraud[inside].sum()),
            median_amount=float(np.nanmedian(amount[inside])) if not np.isnan(amount[inside]).all() else 0.0,
            drift=_drift(codes, week == first, inside),
        )
        for number in numbers.tolist()
    ]


def _drift(
    codes: Mapping[str, NDArray[np.int64]], before: NDArray[np.bool_], now: NDArray[np.bool_]
) -> dict[str, float]:
    drifts = {}
    for name, code in codes.items():
        was, is_ = (np.bincount(code[which], minlength=int(code.max()) + 1) / which.sum() for which in (before, now))
        drifts[name] = stability_index(was, is_)
    return drifts
