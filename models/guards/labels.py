"""Implausible labels: categories that are all fraud, periods without fraud, a column that reveals the label."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from models.guards.finding import Finding
from vedette.clock import format_time
from vedette.events import EXTRA

MANY = 20
"""Number of expected frauds at which finding none is not chance (e^-20), and of rows that are all fraud."""

TOO_GOOD = 0.99
"""Average precision above which a leak is more likely than a good model."""

_CATEGORIES = ("currency", "channel", "country", "mcc", "account_type")
_NUMBERS = ("amount", "balance", "lat", "lon", "account_opened_at")


def check(rows: pd.DataFrame) -> list[Finding]:
    """Return findings on labelled transactions, none if there are not both frauds and honest payments.

    Args:
        rows: Columns named like the fields of Transaction, and `fraud`, in the order of event time.
    """
    if "fraud" not in rows:
        return []
    known = rows[rows["fraud"].isin([True, False])]
    fraud = known["fraud"].to_numpy(np.bool_)
    if not fraud.any() or fraud.all():
        return []
    findings = list(_silence(known, fraud, ""))
    for column in _CATEGORIES:
        if column in known and len(known[column].unique()) > 1:
            findings += _categories(known, fraud, column)
    for column in known.columns:
        if column in _NUMBERS or str(column).startswith(EXTRA):
            findings += _answer(known, fraud, str(column))
    return findings


def too_good(average_precision: float) -> str:
    """Return a warning if a result is too good to be true, otherwise ''."""
    if average_precision <= TOO_GOOD:
        return ""
    return (
        f"an average precision of {average_precision:.3f} is too good to be true: look for a column derived from "
        "the label, and for labels that are set by a rule"
    )


def _categories(rows: pd.DataFrame, fraud: NDArray[np.bool_], column: str) -> Iterator[Finding]:
    """Yield findings on values of a column whose share of fraud is 0 or 1, always or for a period."""
    rate = float(fraud.mean())
    for value, places in rows.groupby(column, observed=True).indices.items():
        found, total = int(fraud[places].sum()), len(places)
        if found == total >= MANY:
            yield _warning("all-fraud", column, total, f"all {total:,} rows with {column} {value} are fraud")
        elif not found and rate * total >= MANY:
            message = f"none of the {total:,} rows with {column} {value} is fraud; of all rows {rate:.2%} are"
            yield _warning("no-fraud", column, total, message)
        else:
            yield from _silence(rows.iloc[places], fraud[places], column, value)


def _silence(rows: pd.DataFrame, fraud: NDArray[np.bool_], column: str, value: object = "") -> Iterator[Finding]:
    """Yield findings on a start or end without fraud, where the fraud share of the other rows predicts many."""
    places = np.flatnonzero(fraud)
    if len(places) < MANY or "event_time" not in rows or not pd.api.types.is_integer_dtype(rows["event_time"]):
        return
    time = rows["event_time"].to_numpy(np.int64)
    group = f" with {column} {value}" if column else ""
    for place, quiet, name, side in (
        (places[0], int(places[0]), "first", "before"),
        (places[-1], len(fraud) - 1 - int(places[-1]), "last", "after"),
    ):
        if quiet * len(places) / (len(fraud) - quiet) >= MANY:
            day = format_time(int(time[place]))[:10]
            message = f"the {name} fraud{group} is on {day}, {quiet:,} rows come {side} it: are their labels known?"
            yield _warning("silence", column or "fraud", quiet, message)


def _answer(rows: pd.DataFrame, fraud: NDArray[np.bool_], column: str) -> Iterator[Finding]:
    """Yield a finding if a numeric column alone ranks the frauds first."""
    values = pd.to_numeric(rows[column], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    present = ~np.isnan(values)
    truth = fraud[present]
    if truth.sum() < MANY or truth.all():
        return
    best = max(average_precision_score(truth, sign * values[present]) for sign in (1, -1))
    if best > TOO_GOOD:
        message = f"{column} alone ranks the frauds with an average precision of {best:.3f}: is it made from the label?"
        yield _warning("too-good", column, int(present.sum()), message)


def _warning(check: str, column: str, rows: int, message: str) -> Finding:
    return Finding(severity="warning", check=check, column=column, rows=rows, message=message)
