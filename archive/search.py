"""Queries on the archive, answered by DuckDB over the files of the tables."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import gettempdir
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from archive.columns import DAY
from archive.feature_table import feature_names
from archive.service import open_table, storage_options
from archive.tables import TABLES
from vedette.errors import InputError, UnavailableError
from vedette.events import EXTRA, Action
from vedette.settings import ArchiveSettings
from vedette.topics import Name

_PAYMENTS = Path(__file__).with_name("payments.sql").read_text(encoding="utf-8")
_MS = 1000
_MEMORY = "2GB"
"""Memory limit; larger results are sorted on disk."""
_AT_ONCE = 50_000
"""Rows of a piece of a large answer."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Conditions on payments; omitted ones match all payments.

    Attributes:
        kind: Kind of transaction; `payment` for those that name none.
        since: First event time, milliseconds since 1970-01-01 UTC.
        until: Event times before this one.
        min_amount: Minimum amount, minor units of `currency`, which must be named with it.
        action: Action of the standing decision.
        flagged: Whether the standing decision is other than approve.
        rule: Name of a rule that was true.
        reason: Code of a reason of the standing decision.
        min_score: Minimum score.
        fraud: Label of the payment.
        limit: Maximum number of payments, the newest first.
    """

    transaction: str = ""
    account: str = ""
    payee: str = ""
    merchant: str = ""
    device: str = ""
    ip: str = ""
    currency: str = ""
    kind: str = ""
    since: int | None = None
    until: int | None = None
    min_amount: int | None = None
    action: Action | None = None
    flagged: bool | None = None
    rule: str = ""
    reason: str = ""
    min_score: float | None = None
    fraud: bool | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        if self.min_amount is not None and not self.currency:
            raise InputError("an amount needs its currency", remedy="name --currency as well")


@dataclass(frozen=True)
class PaymentHistory:
    """The archived data of one payment.

    Attributes:
        payment: Its row of `payments`.
        messages: By topic, every message about it, in the order in which they were published.
        features: Input of the model by name, without the live features; NaN is a feature that the payment does not
            have. Extra columns are named as in the feature log. Empty if nothing was logged.
        signals: The live signals, of which the live features are made; None where these are among the features.
        features_hash: Hash of the catalogue of the features.
    """

    payment: dict[str, Any]
    messages: dict[str, list[dict[str, Any]]]
    features: dict[str, float]
    signals: bytes | None
    features_hash: str


_OF_PAYMENT = {
    "transaction": "transaction_id = $transaction",
    "account": "account_id = $account",
    "payee": "payee = $payee",
    "merchant": "merchant_id = $merchant",
    "device": "device_id = $device",
    "ip": "ip_address = $ip",
    "currency": "currency = $currency",
    "kind": "coalesce(kind, 'payment') = $kind",
    "since": "event_time >= $since",
    "until": "event_time < $until",
    "min_amount": "amount >= $min_amount",
}
_OF_OUTCOME = {
    "action": "action = $action",
    "flagged": "(action <> 'approve') = $flagged",
    "rule": "list_contains(rules, $rule)",
    "reason": "list_contains(reason_codes, $reason)",
    "min_score": "score >= $min_score",
    "fraud": "fraud = $fraud",
}
"""SQL condition on `payments` for each part of a query."""


class Archive:
    """The tables, each as it is when it is first asked for.

    Args:
        settings: Location of the archive.

    Raises:
        UnavailableError: There is no archive, or its storage does not answer.
    """

    def __init__(self, settings: ArchiveSettings) -> None:
        self._settings = settings
        self._options = storage_options(settings)
        self._tables = {table.topic: table for table in TABLES}
        self._delta: dict[Name, DeltaTable] = {}
        self._defined: set[str] = set()
        self._open(Name.TRANSACTIONS)  # where it is not, there is no archive
        scratch = f"{gettempdir()}/vedette-archive-{os.getpid()}"
        self._duck = duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": scratch})
        self._duck.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._duck.close()

    def find(self, question: Question) -> pa.Table:
        """Return the payments that match a query, the newest first, in the columns of `payments`."""
        return self.ask(question, "SELECT * FROM payments ORDER BY event_time DESC, transaction_id LIMIT $limit")

    def ask(self, question: Question, select: str) -> pa.Table:
        """Return the answer of SQL over `payments`, which are those that match a query; its limit is `$limit`."""
        views, query, values = self._asked(question, select)
        return self._ask(views, query, values)

    def ask_in_pieces(
        self, question: Question, select: str, tables: Mapping[str, pa.Table] | None = None
    ) -> pa.RecordBatchReader:
        """Return the answer of SQL over `payments` and the other tables piece by piece; see `ask` and `stream`."""
        views, query, values = self._asked(question, select)
        return self.stream(views, query, values, tables)

    def define(self, name: str, function: Callable[[pa.Array, pa.Array], pa.Array]) -> None:
        """Define a function of two texts for SQL, which gives a text and is called with many rows at a time."""
        duck: Any = self._duck  # whose types know no kind of function by its name
        if name in self._defined:
            duck.remove_function(name)
        duck.create_function(name, function, ["VARCHAR"] * 2, "VARCHAR", type="arrow", null_handling="special")
        self._defined.add(name)

    def _asked(self, question: Question, select: str) -> tuple[list["View"], str, dict[str, Any]]:
        """Return views, SQL and values of a query; transactions are a table already where they are few."""
        values = {name: value for name, value in asdict(question).items() if value not in (None, "")}
        values |= {name: _moment(values[name]) for name in ("since", "until") if name in values}
        asked = [sql for name, sql in _OF_PAYMENT.items() if name in values]
        wanted = [sql for name, sql in _OF_OUTCOME.items() if name in values]
        days = days_of(question)
        only = None
        transactions: View | pa.Table = View(Name.TRANSACTIONS, days, question.account)
        if question.account or question.transaction:  # the rest is only on the days of these few payments
            transactions = self._ask(
                [transactions],
                f"SELECT * FROM transactions WHERE {_all(asked)}",  # noqa: S608, values are bound
                _named_in(values, asked),
            )
            only = tuple(sorted({moment.date() for moment in transactions["event_time"].to_pylist()}))
        views = [
            View(Name.DECISIONS, days, question.account, only),  # dated like their payment
            View(Name.LABELS, days, question.account, only),
            View(Name.CHALLENGES, (days[0], None), question.account),  # issued later
            View(Name.INCIDENTS, (days[0], None), question.account),  # closed later
        ]
        if isinstance(transactions, View):
            views.append(transactions)
        else:
            self._duck.execute("DROP VIEW IF EXISTS transactions")
            self._duck.register(Name.TRANSACTIONS, transactions)
        payments = f"SELECT * FROM ({_PAYMENTS.format(filter=_all(asked))}) WHERE {_all(wanted)}"  # noqa: S608, values are bound
        query = f"WITH payments AS ({payments}) {select}"
        return views, query, _named_in(values, [query])

    def stream(
        self, views: list["View"], query: str, values: dict[str, Any], tables: Mapping[str, pa.Table] | None = None
    ) -> pa.RecordBatchReader:
        """Return the answer of SQL over views of tables, and over tables given by name, piece by piece.

        Only the answer to the last question can be read.
        """
        for name, table in (tables or {}).items():
            self._duck.register(name, table)
        self._make(views, by_name=True)
        return self._duck.sql(query, params=values).to_arrow_reader(_AT_ONCE)

    def has(self, name: Name) -> bool:
        """Return whether the archive has a table: one written by an earlier version may lack it."""
        try:
            self._open(name)
        except UnavailableError:
            return False
        return True

    def read(self, view: "View", query: str, values: dict[str, Any]) -> pa.Table:
        """Return the answer of SQL over one table."""
        return self._ask([view], query, values)

    def history(self, transaction: str) -> list[PaymentHistory]:
        """Return everything that is archived about a transaction; an entry for each account that used its id."""
        return [self._history_of(row) for row in self.find(Question(transaction=transaction)).to_pylist()]

    def _history_of(self, payment: dict[str, Any]) -> PaymentHistory:
        day = payment["event_time"].date()
        key = {"transaction": payment["transaction_id"], "account": payment["account_id"]}
        messages = {}
        for name in (Name.DECISIONS, Name.ALERTS, Name.CHALLENGES, Name.LABELS):
            dated_like_payment = name is not Name.CHALLENGES
            view = View(name, (day, day if dated_like_payment else None), payment["account_id"])
            query = (
                f"SELECT * FROM {name} WHERE transaction_id = $transaction AND account_id = $account "  # noqa: S608, a topic
                "ORDER BY kafka_partition, kafka_offset"
            )
            messages[name.value] = self._ask([view], query, key).to_pylist()
        return PaymentHistory(payment, messages, *self._features(day, key))

    def _features(self, day: date, key: dict[str, str]) -> tuple[dict[str, float], bytes | None, str]:
        """Return the features of a payment, its live signals, and the hash of the catalogue."""
        view = View(Name.FEATURES, (day, day), key["account"])
        query = (
            "SELECT * FROM features WHERE transaction_id = $transaction AND account_id = $account "
            "ORDER BY kafka_partition, kafka_offset, kafka_row LIMIT 1"  # published again means published identically
        )
        found = self._ask([view], query, key)
        if not len(found):
            return {}, None, ""
        (row,) = found.to_pylist()
        features = {name: row[name] for name in feature_names(found.column_names) if row[name] is not None}
        extra = {EXTRA + name: value for name, value in row["extra"]}
        return features | extra, row.get("signals"), row["features_hash"]

    def _open(self, name: Name) -> DeltaTable:
        if name in self._delta:
            return self._delta[name]
        self._delta[name] = open_table(self._settings, self._tables[name])
        return self._delta[name]

    def _ask(self, views: list["View"], query: str, values: dict[str, Any]) -> pa.Table:
        """Answer a query over views of tables.

        Files are taken to have the columns of their table, which is so unless a later version has added one: to read
        the columns of all files first takes as long as the question itself.
        """
        try:
            self._make(views, by_name=False)
            return self._duck.sql(query, params=values).to_arrow_table()
        except duckdb.InvalidInputException:  # a file lacks a column that the first one has
            self._make(views, by_name=True)
            return self._duck.sql(query, params=values).to_arrow_table()

    def _make(self, views: list["View"], *, by_name: bool) -> None:
        for view in views:
            self._duck.execute(f"DROP VIEW IF EXISTS {view.table}")
            self._create(view, by_name=by_name)

    def _create(self, view: "View", *, by_name: bool) -> None:
        """Create a view of a table's rows of some days, empty if there are none."""
        if not self.has(view.table):  # the archive is from before there was this table
            self._duck.register(view.table, self._tables[view.table].schema.empty_table())
            return
        delta = self._open(view.table)
        bounds = zip((">=", "<="), view.days, strict=True)
        filters: list[tuple[str, str, Any]] = [(DAY, operator, day.isoformat()) for operator, day in bounds if day]
        if view.only is not None:
            filters.append((DAY, "in", [day.isoformat() for day in view.only]))
        files = [] if view.only == () else delta.file_uris(file_pruning_predicate=filters or None)
        if not files:
            self._duck.register(view.table, self._tables[view.table].schema.empty_table())
            return
        if self._options:
            found = self._duck.from_arrow(delta.to_pyarrow_dataset(file_pruning_predicate=filters or None))
            self._with_all_columns(found, view.table).create_view(view.table)
            return
        rows = self._duck.read_parquet(files, union_by_name=by_name, hive_partitioning=False)
        wanted = {field.name for field in delta.schema().fields} - {DAY}
        if not by_name and not wanted <= set(rows.columns):
            self._create(view, by_name=True)
            return
        if view.account:  # a filter on the files themselves skips whole row groups
            rows = rows.filter(duckdb.ColumnExpression("account_id") == duckdb.ConstantExpression(view.account))
        self._with_all_columns(rows, view.table).create_view(view.table)

    def _with_all_columns(self, rows: duckdb.DuckDBPyRelation, name: Name) -> duckdb.DuckDBPyRelation:
        """Return rows with the columns of this version, empty where an archive written before does not have them."""
        whole = self._duck.from_arrow(self._tables[name].schema.empty_table())
        lacking = [(column, kind) for column, kind in zip(whole.columns, whole.types, strict=True)
                   if column not in rows.columns and column != DAY]  # fmt: skip
        return rows.project("*", *(f'NULL::{kind} AS "{column}"' for column, kind in lacking)) if lacking else rows


@dataclass(frozen=True)
class View:
    """Rows of a table: from the first day to the last, of an account if it is named, and only of some days if given."""

    table: Name
    days: tuple[date | None, date | None]
    account: str = ""
    only: tuple[date, ...] | None = None


def _named_in(values: dict[str, Any], conditions: list[str]) -> dict[str, Any]:
    """Return the values that conditions name; DuckDB refuses others."""
    named = set(re.findall(r"\$(\w+)", " ".join(conditions)))
    return {name: value for name, value in values.items() if name in named}


def _all(conditions: list[str]) -> str:
    return " AND ".join(conditions) or "TRUE"


def days_of(question: Question) -> tuple[date | None, date | None]:
    """Return the first and the last UTC day that a query asks for; None is without end."""
    first = _moment(question.since).date() if question.since is not None else None
    last = _moment(question.until - 1).date() if question.until is not None else None
    return first, last


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / _MS, UTC)
