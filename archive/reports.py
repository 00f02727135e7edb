"""Reports on a period: fraud as regulators ask for it, the institution's own figures, and the models' figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from archive.search import Archive, Question, View, days_of
from vedette.errors import InputError
from vedette.money import exponent, format_amount
from vedette.topics import Name


class ReportKind(StrEnum):
    """What a report is for."""

    REGULATOR = "regulator"
    INSTITUTION = "institution"
    MODEL = "model"


@dataclass(frozen=True)
class ReportTable:
    """One table of a report.

    Attributes:
        name: For files and JSON.
        title: For people.
        note: How the figures are counted.
        select: SQL over `payments`. Columns named `value` or ending in `_value` are money in minor units of the column
            `currency`, those ending in `_rate` are shares from 0 to 1.
        chart: Column drawn as bars; empty: none.
        over: The table that is asked instead of `payments`, from `$since` to `$until`.
    """

    name: str
    title: str
    note: str
    select: str
    chart: str = ""
    over: Name | None = None


@dataclass(frozen=True)
class ReportSection:
    """A table with its columns and rows."""

    table: ReportTable
    columns: list[str]
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Report:
    """A report.

    Attributes:
        kind: What it is for.
        since: First event time, milliseconds since 1970-01-01 UTC.
        until: Event times before this one.
        sections: Its tables, in order.
    """

    kind: ReportKind
    since: int
    until: int
    sections: Sequence[ReportSection]

    @property
    def payments(self) -> int:
        """Number of payments in it."""
        return sum(row["payments"] for row in self.sections[0].rows)


_OUTGOING = "kind IN ('payment', 'withdrawal', 'authorisation')"
"""Kinds that take money; a completion repeats its authorisation."""
_FLAGGED = "action IS NOT NULL AND action <> 'approve'"
_STOPPED = "final_action IN ('decline', 'review')"
_FIGURES = """
    count(*) AS payments,
    sum(amount)::HUGEINT AS value,
    count(*) FILTER (fraud) AS frauds,
    coalesce(sum(amount) FILTER (fraud), 0)::HUGEINT AS fraud_value,
    count(*) FILTER (fraud) / count(*) AS fraud_rate
"""
_INSTRUMENT = """CASE channel
    WHEN 'transfer' THEN 'credit transfer' WHEN 'atm' THEN 'cash withdrawal'
    WHEN 'pos' THEN 'card payment' WHEN 'ecom' THEN 'card payment' WHEN 'phone' THEN 'card payment'
    ELSE 'not known' END"""
_INITIATION = (
    "CASE WHEN channel IN ('pos', 'atm') THEN 'non-remote' WHEN channel IS NULL THEN 'not known' ELSE 'remote' END"
)
_AUTHENTICATION = "CASE WHEN challenge_status IS NULL THEN 'no strong authentication' ELSE 'strong authentication' END"


def _by(columns: str, condition: str = _OUTGOING) -> str:
    names = ", ".join(part.rpartition(" AS ")[2] for part in columns.split(";"))
    return (
        f"SELECT {columns.replace(';', ',')}, currency, {_FIGURES} FROM payments WHERE {condition} "  # noqa: S608, constants
        f"GROUP BY {names}, currency ORDER BY {names}, currency"
    )


TABLES: dict[ReportKind, tuple[ReportTable, ...]] = {
    ReportKind.REGULATOR: (
        ReportTable(
            "instruments", "Payments and frauds by instrument",
            "The breakdown of the EBA guidelines on fraud reporting under PSD2 (EBA/GL/2018/05): instrument, remote or"
            " not, with or without strong customer authentication. A payment counts as authenticated if its customer"
            " was asked. Frauds are those labelled so by now.",
            _by(f"{_INSTRUMENT} AS instrument; {_INITIATION} AS initiation; {_AUTHENTICATION} AS authentication"),
            chart="fraud_value",
        ),
        ReportTable(
            "countries", "Payments and frauds by country",
            "The country of the merchant or payee, from which the reporting institution derives domestic, inside and"
            " outside the EEA.",
            _by("coalesce(country, 'not known') AS country"),
            chart="fraud_value",
        ),
        ReportTable(
            "sources", "Frauds by the source of their label", "Who said that a payment was a fraud.",
            _by("label_source AS source", f"{_OUTGOING} AND fraud"),
        ),
    ),
    ReportKind.INSTITUTION: (
        ReportTable(
            "decisions", "Decisions", "The standing decision: the first that is neither degraded nor final.",
            _by("coalesce(action, 'undecided') AS decision"), chart="payments",
        ),
        ReportTable(
            "detection", "Detection",
            "Caught frauds were flagged; prevented is the value of those that were declined or held in the end. False"
            " alarms are flagged payments labelled as legitimate. Recall and precision count labelled payments only.",
            f"""SELECT currency, count(*) AS payments, count(*) FILTER (fraud) AS frauds,
            count(*) FILTER (fraud AND {_FLAGGED}) AS caught,
            coalesce(sum(amount) FILTER (fraud AND {_STOPPED}), 0)::HUGEINT AS prevented_value,
            coalesce(sum(amount) FILTER (fraud AND NOT ({_STOPPED})), 0)::HUGEINT AS lost_value,
            count(*) FILTER (NOT fraud AND {_FLAGGED}) AS false_alarms,
            count(*) FILTER (fraud AND {_FLAGGED}) / nullif(count(*) FILTER (fraud), 0) AS recall_rate,
            count(*) FILTER (fraud AND {_FLAGGED}) / nullif(count(*) FILTER (fraud IS NOT NULL AND {_FLAGGED}), 0)
                AS precision_rate
            FROM payments WHERE {_OUTGOING} GROUP BY currency ORDER BY currency""",  # noqa: S608, constants
        ),
        ReportTable(
            "channels", "Payments and frauds by channel", "", _by("coalesce(channel, 'not known') AS channel"),
            chart="fraud_value",
        ),
        ReportTable(
            "challenges", "Challenges", "How customers answered when they were asked.",
            _by("challenge_status AS outcome", "challenge_status IS NOT NULL"), chart="payments",
        ),
        ReportTable(
            "team", "The team's response",
            "Incidents that the fraud team closed or that expired, with the time from the first decision on one of"
            " their payments to their close, in minutes.",
            """SELECT outcome, count(*) AS incidents, sum(of_incident)::BIGINT AS payments,
            round(median(minutes), 1) AS minutes_median, round(quantile_cont(minutes, 0.95), 1) AS minutes_p95
            FROM (
                SELECT incident_state AS outcome, count(*) AS of_incident,
                (epoch_ms(any_value(incident_closed_at)) - epoch_ms(min(decided_at))) / 60000 AS minutes
                FROM payments WHERE incident_id IS NOT NULL GROUP BY incident_id, incident_state
            ) GROUP BY outcome ORDER BY outcome""",
        ),
        ReportTable(
            "rules", "Rules", "A payment counts for every rule that was true of it.",
            f"SELECT rule, currency, {_FIGURES} FROM (SELECT unnest(rules) AS rule, * FROM payments) "  # noqa: S608, constants
            f"WHERE {_OUTGOING} GROUP BY rule, currency ORDER BY rule, currency",
            chart="payments",
        ),
    ),
    ReportKind.MODEL: (
        ReportTable(
            "models", "Decisions by model and policy", "Flagged payments and what became of them.",
            f"""SELECT coalesce(nullif(model, ''), 'none') AS model, coalesce(policy, '') AS policy, currency,
            count(*) AS payments, count(*) FILTER ({_FLAGGED}) AS flagged, count(*) FILTER (fraud) AS frauds,
            count(*) FILTER (fraud AND {_FLAGGED}) AS caught,
            coalesce(sum(amount) FILTER (fraud AND NOT ({_FLAGGED})), 0)::HUGEINT AS missed_value,
            count(*) FILTER (NOT fraud AND {_FLAGGED}) AS false_alarms
            FROM payments WHERE {_OUTGOING} GROUP BY ALL ORDER BY ALL""",  # noqa: S608, constants
            chart="payments",
        ),
        ReportTable(
            "scores", "Scores",
            "Payments by tenths of the score: of a calibrated model the share of frauds is within each tenth.",
            f"""SELECT least(floor(score * 10), 9) / 10 AS score_from, currency, {_FIGURES}
            FROM payments WHERE score IS NOT NULL AND {_OUTGOING} GROUP BY ALL ORDER BY ALL""",  # noqa: S608, constants
            chart="fraud_rate",
        ),
        ReportTable(
            "changes", "Changes of models and policy",
            "What was put into force, who approved it, and why. `guardrail` withdraws a challenger by itself.",
            """SELECT strftime(c.changed_at, '%Y-%m-%d %H:%M:%S') AS changed_at, kind,
            coalesce(policy, champion) AS version, challenger, rollout_fraction AS rollout_rate, withdrawn, approver,
            reason
            FROM control c WHERE epoch_ms(c.changed_at) >= $since AND epoch_ms(c.changed_at) < $until
            ORDER BY c.changed_at, kafka_partition, kafka_offset""",
            over=Name.CONTROL,
        ),
        ReportTable(
            "days", "Days", "By the UTC day of the payment.",
            _by("strftime(event_time, '%Y-%m-%d') AS day"), chart="frauds",
        ),
    ),
}  # fmt: skip


def make_report(archive: Archive, kind: ReportKind, since: int, until: int) -> Report:
    """Return a report on the payments of a period.

    Args:
        archive: Where they are.
        kind: What it is for.
        since: First event time, milliseconds since 1970-01-01 UTC.
        until: Event times before this one.

    Raises:
        InputError: The period is empty.
    """
    if until <= since:
        raise InputError("the period is empty", remedy="--from is its first moment, --to the first after it")
    period = Question(since=since, until=until)
    return Report(kind, since, until, [_section(archive, table, period) for table in TABLES[kind]])


def _section(archive: Archive, table: ReportTable, period: Question) -> ReportSection:
    if table.over is None:
        found = archive.ask(period, table.select)
    else:
        bounds = {"since": period.since, "until": period.until}
        found = archive.read(View(table.over, days_of(period)), table.select, bounds)
    return ReportSection(table, found.column_names, found.to_pylist())


def cell(column: str, row: dict[str, Any]) -> str:
    """Return a value of a row as text for people."""
    value = row[column]
    if value is None:
        return "-"
    if is_money(column):
        return format_amount(int(value), row["currency"])
    if column.endswith("_rate"):
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row for programs: money as decimal text in major units."""
    return {
        name: str(Decimal(int(value)).scaleb(-exponent(row["currency"]))) if is_money(name) else value
        for name, value in row.items()
    }


def is_money(column: str) -> bool:
    """Return whether a column is money, see ReportTable.select."""
    return column == "value" or column.endswith("_value")
