"""Data quality checks before training: types, ranges, missing values, duplicates, gaps in time, share of fraud."""

import numpy as np
import pandas as pd

from models.guards import labels
from models.guards.finding import Finding, Severity
from vedette.clock import DAY, HOUR, format_time
from vedette.errors import InputError
from vedette.events import MAX_TIME, MIN_TIME

LEAST_SHARE, MOST_SHARE = 1e-5, 0.2
"""Bounds of the share of fraud, outside which a faulty mapping is likely."""

MOST_MISSING = 0.5
"""Share of missing values above which a column is reported."""

LONGEST_GAP = DAY
"""Longest time without a payment; a longer one probably means that some were lost."""

_TRUTH = ("fraud", "labelled_at", "scenario")
"""Columns that an honest payment does not have."""


def check(rows: pd.DataFrame) -> list[Finding]:
    """Return all findings on labelled transactions, errors first.

    Args:
        rows: Columns named like the fields of Transaction, and `fraud`, in the order of the file.
    """
    findings = [
        *_text(rows, "transaction_id"), *_duplicates(rows), *_text(rows, "account_id"),
        *_integers(rows, "event_time", MIN_TIME, MAX_TIME, "is not between 1980 and 2100"),
        *_integers(rows, "amount", 0, None, "is negative"), *_truth_values(rows),
    ]  # fmt: skip
    if "event_time" in rows and pd.api.types.is_integer_dtype(rows["event_time"]):
        findings += _times(rows["event_time"].to_numpy(np.int64))
    findings += _missing(rows)
    if "fraud" in rows:
        findings += _share(rows["fraud"])
        findings += labels.check(rows)
    if "account_opened_at" in rows:
        findings += _opened(rows["account_opened_at"].dropna())
    return sorted(findings, key=lambda finding: finding.severity)


def stop_on_errors(findings: list[Finding]) -> None:
    """Refuse to train on data with errors.

    Raises:
        InputError: The data has errors; the message names the first and counts the others.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise InputError(
            f"the data cannot be trained on: {errors[0].message}{more}",
            remedy="`vedette check` lists everything; correct the file or its mapping",
        )


def _text(rows: pd.DataFrame, column: str) -> list[Finding]:
    if column not in rows:
        return [_absent(column)]
    wrong = ~rows[column].map(lambda value: isinstance(value, str))
    return _broken(rows, wrong, "type", column, "is not text")


def _duplicates(rows: pd.DataFrame) -> list[Finding]:
    column = "transaction_id"
    if column not in rows:
        return []
    repeated = rows[column].notna() & rows[column].duplicated(keep=False)
    return _broken(rows, repeated, "unique", column, "occurs more than once")


def _integers(rows: pd.DataFrame, column: str, low: int, high: int | None, words: str) -> list[Finding]:
    if column not in rows:
        return [_absent(column)]
    if not pd.api.types.is_integer_dtype(rows[column]):
        return [_finding("error", "type", column, len(rows), f"{column}: {rows[column].dtype} is not int64")]
    wrong = (rows[column] < low) | (rows[column] > high if high is not None else False)
    return _broken(rows, wrong, "range", column, words)


def _truth_values(rows: pd.DataFrame) -> list[Finding]:
    if "fraud" not in rows:
        return [_absent("fraud")]
    wrong = rows["fraud"].notna() & ~rows["fraud"].isin([False, True])
    return _broken(rows, wrong, "type", "fraud", "is neither true nor false")


def _broken(rows: pd.DataFrame, wrong: "pd.Series[bool]", check: str, column: str, words: str) -> list[Finding]:
    """Return one finding on the wrong rows, with the first as an example; empty if there are none."""
    number = int(wrong.sum())
    if not number:
        return []
    example = rows[column][wrong].tolist()[0]
    return [_finding("error", check, column, number, f"{column}: {example!r} {words}")]


def _absent(column: str) -> Finding:
    return _finding("error", "column", column, 0, f"there is no column {column}")


def _times(time: "np.typing.NDArray[np.int64]") -> list[Finding]:
    findings: list[Finding] = []
    back = int((np.diff(time) < 0).sum())
    if back:
        findings.append(_finding("error", "order", "event_time", back, f"{back} rows are earlier than the row before"))
    ordered = np.sort(time)
    gaps = np.flatnonzero(np.diff(ordered) > LONGEST_GAP)
    if len(gaps):
        longest = gaps[np.argmax(np.diff(ordered)[gaps])]
        hours = (ordered[longest + 1] - ordered[longest]) / HOUR
        message = f"{len(gaps)} gaps of more than a day, the longest {hours:.0f} hours from {_day(ordered[longest])}"
        findings.append(_finding("warning", "gap", "event_time", len(gaps), message))
    return findings


def _missing(rows: pd.DataFrame) -> list[Finding]:
    """Report columns that most rows lack and, in one finding, those that all rows lack, as the mapping omits them."""
    shares = {str(name): float(share) for name, share in rows.isna().mean().items() if name not in _TRUTH}
    absent = [name for name, share in shares.items() if share == 1]
    findings = [
        _finding("warning", "missing", name, round(share * len(rows)), f"{name}: {share:.0%} of the rows have none")
        for name, share in shares.items()
        if MOST_MISSING < share < 1
    ]
    if absent:
        message = f"no row has {', '.join(absent)}; features made from them stay empty"
        findings.append(_finding("warning", "absent", "", len(rows), message))
    return findings


def _share(fraud: "pd.Series[bool]") -> list[Finding]:
    known = fraud.dropna().astype(bool)
    if not len(known):
        return [_finding("error", "labels", "fraud", len(fraud), "no row has a label")]
    share = float(known.mean())
    if not known.any() or known.all():
        return [_finding("error", "labels", "fraud", len(known), f"all labels are {bool(known.iloc[0])}")]
    if not LEAST_SHARE <= share <= MOST_SHARE:
        return [_finding("warning", "share", "fraud", int(known.sum()), f"{share:.3%} of the rows are fraud")]
    return []


def _opened(opened: "pd.Series[int]") -> list[Finding]:
    """Report accounts that were all opened in the first weeks of 1970: their times are in seconds."""
    if not len(opened) or float(opened.max()) > MAX_TIME / 1000:
        return []
    message = f"every account was opened before {_day(MAX_TIME // 1000)}: seconds taken for milliseconds?"
    return [_finding("warning", "unit", "account_opened_at", len(opened), message)]


def _finding(severity: Severity, check: str, column: str, rows: int, message: str) -> Finding:
    return Finding(severity=severity, check=check, column=column, rows=rows, message=message)


def _day(time: int) -> str:
    return format_time(int(time))[:16]
