"""Data quality before training: types, ranges, missing values, duplicates, gaps in time, the share of fraud."""

from typing import Literal

import msgspec
import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from vedette.clock import DAY, HOUR, format_time
from vedette.errors import InputError

Severity = Literal["error", "warning"]

LEAST_SHARE, MOST_SHARE = 1e-5, 0.2
"""A share of fraud outside of these is more likely a mapping gone wrong than the truth."""

MOST_MISSING = 0.5
"""A column with more missing values than this is worth a word."""

LONGEST_GAP = DAY
"""A stream of payments that is silent for longer has probably lost some."""

_TRUTH = ("fraud", "labelled_at", "scenario")
"""Of these an honest payment has none."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be.

    Attributes:
        severity: An error stops the training, a warning is for the reader.
        check: Which rule.
        column: Where.
        rows: How many rows.
        message: In words, with an example.
    """

    severity: Severity
    check: str
    column: str
    rows: int
    message: str


def schema() -> pa.DataFrameSchema:
    """What a labelled transaction must look like, whatever the file it came from."""
    return pa.DataFrameSchema(
        {
            "transaction_id": pa.Column(str, unique=True, nullable=False),
            "account_id": pa.Column(str, nullable=False),
            "event_time": pa.Column("int64", pa.Check.in_range(0, 4_102_444_800_000, error="between 1970 and 2100")),
            "amount": pa.Column("int64", pa.Check.ge(0, error="not negative")),
            "fraud": pa.Column("boolean", nullable=True, coerce=True),
        },
        strict=False,
    )


def check(rows: pd.DataFrame) -> list[Finding]:
    """All findings on labelled transactions, errors first.

    Args:
        rows: Columns as the fields of Transaction and `fraud`, in the order of the file.
    """
    findings: list[Finding] = []
    try:
        schema().validate(rows, lazy=True)
    except SchemaErrors as problem:
        cases = problem.failure_cases
        for (place, rule), group in cases.groupby([cases["column"].fillna(""), cases["check"].astype(str)]):
            example = group["failure_case"].iloc[0]
            column = str(place or example)  # a column that is not there has no place; its name is the example
            message = f"{column}: {rule} is broken by {example}"
            findings.append(_finding("error", str(rule), column, len(group), message))
    if "event_time" in rows and pd.api.types.is_integer_dtype(rows["event_time"]):
        findings += _times(rows["event_time"].to_numpy(np.int64))
    findings += _missing(rows)
    if "fraud" in rows:
        findings += _share(rows["fraud"])
    return sorted(findings, key=lambda finding: finding.severity)


def stop_on_errors(findings: list[Finding]) -> None:
    """Refuse to train on data with errors.

    Raises:
        InputError: There is one; it says how many and names the first.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise InputError(
            f"the data cannot be trained on: {errors[0].message}{more}",
            remedy="`vedette check` lists everything; mend the file or its mapping",
        )


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
    """Columns that most rows lack, and, in one finding, those that all rows lack: the mapping does not name them."""
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


def _finding(severity: Severity, check: str, column: str, rows: int, message: str) -> Finding:
    return Finding(severity=severity, check=check, column=column, rows=rows, message=message)


def _day(time: int) -> str:
    return format_time(int(time))[:16]
