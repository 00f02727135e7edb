"""The archive for BI: a star of plain tables with masked identifiers, as docs/bi.md describes them.

Their columns are a contract with whoever builds reports on them: they are added, and never renamed or removed.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from secrets import token_bytes
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from adapters.files import output_file
from archive.search import Archive, Question
from vedette.codes import CURRENCIES
from vedette.errors import InputError

DATABASE = "star.duckdb"
_MASKED = 10
"""Bytes of a masked identifier, which is twice as many characters."""


@dataclass(frozen=True)
class StarTable:
    """A table of the star.

    Attributes:
        name: Its name.
        select: SQL over `base`, the payments with everything that the other tables need.
    """

    name: str
    select: str


_COUNTS = "count(*) AS payments, count(*) FILTER (flagged) AS flagged, count(*) FILTER (fraud) AS frauds"
_SPAN = "min(day) AS first_day, max(day) AS last_day"
_BASE = """SELECT
    mask('payment', transaction_id || chr(31) || account_id) AS payment_key,
    mask('account', account_id) AS account_key,
    mask('merchant', merchant_id) AS merchant_key,
    mask('payee', payee) AS payee_key,
    mask('device', device_id) AS device_key,
    coalesce(nullif(model, ''), 'none') || ' ' || policy AS model_key,
    event_time::DATE AS day,
    hour(event_time)::INTEGER AS hour,
    event_time,
    kind, channel, country, mcc, account_type, currency,
    (amount::DECIMAL(18, 0) * unit)::DECIMAL(22, 4) AS amount,
    action, final_action,
    action <> 'approve' AS flagged,
    final_action IN ('decline', 'review') AS stopped,
    score,
    (expected_loss::DECIMAL(18, 0) * unit)::DECIMAL(22, 4) AS expected_loss,
    nullif(model, '') AS model, policy, degraded,
    epoch_ms(decided_at) - epoch_ms(produced_at) AS decision_ms,
    challenge_status, challenge_factor,
    fraud, label_source,
    labelled_at::DATE AS labelled_day,
    rules
FROM payments JOIN currencies USING (currency)
WHERE action IS NOT NULL
ORDER BY event_time, payment_key"""
STAR: tuple[StarTable, ...] = (
    StarTable("payments", "SELECT * EXCLUDE (mcc, account_type, rules) FROM base"),
    StarTable(
        "accounts",
        f"SELECT account_key, arg_max(account_type, event_time) AS account_type, {_SPAN}, {_COUNTS} "  # noqa: S608, constants
        "FROM base GROUP BY account_key ORDER BY account_key",
    ),
    StarTable(
        "merchants",
        f"SELECT merchant_key, arg_max(mcc, event_time) AS mcc, arg_max(country, event_time) AS country, {_SPAN}, "  # noqa: S608, constants
        f"{_COUNTS} FROM base WHERE merchant_key IS NOT NULL GROUP BY merchant_key ORDER BY merchant_key",
    ),
    StarTable(
        "rules",
        f"SELECT rule, {_SPAN}, {_COUNTS} FROM (SELECT unnest(rules) AS rule, * FROM base) "  # noqa: S608, constants
        "GROUP BY rule ORDER BY rule",
    ),
    StarTable("payment_rules", "SELECT payment_key, unnest(rules) AS rule FROM base ORDER BY payment_key, rule"),
    StarTable(
        "models",
        f"SELECT model_key, any_value(model) AS model, any_value(policy) AS policy, {_SPAN}, {_COUNTS} "  # noqa: S608, constants
        "FROM base GROUP BY model_key ORDER BY model_key",
    ),
    StarTable(
        "days",
        """SELECT day, year(day)::INTEGER AS year, quarter(day)::INTEGER AS quarter, month(day)::INTEGER AS month,
        week(day)::INTEGER AS week, isodow(day)::INTEGER AS weekday, isodow(day) > 5 AS weekend
        FROM (SELECT unnest(generate_series(min(day), max(day), INTERVAL 1 DAY))::DATE AS day FROM base)
        ORDER BY day""",
    ),
)


def export_star(archive: Archive, question: Question, folder: Path, key: str | None) -> dict[str, int]:
    """Write the star as a Parquet file for each table, and DuckDB views over these.

    Args:
        archive: The archive.
        question: Which payments; its limit is not used.
        folder: Where to.
        key: Secret under which identifiers are masked: the same key gives the same masks. None: a random one, so that
            masks cannot be compared with those of other exports.

    Returns:
        Rows by table.

    Raises:
        InputError: A file cannot be written.
    """
    secret = key.encode() if key else token_bytes(32)
    archive.define("mask", lambda kind, ids: _masks(kind, ids, secret))
    rows: dict[str, int] = {}
    with TemporaryDirectory(prefix="vedette-star-") as scratch, closing(duckdb.connect()) as duck:
        base = Path(scratch) / "base.parquet"
        with (
            closing(archive.ask_in_pieces(question, _BASE, {"currencies": _currencies()})) as pieces,
            pq.ParquetWriter(base, pieces.schema, compression="zstd") as writer,
        ):
            for piece in pieces:
                writer.write_batch(piece)
        duck.execute("SET TimeZone = 'UTC'")
        duck.read_parquet(str(base)).create_view("base")
        for table in STAR:
            with output_file(folder / f"{table.name}.parquet", f"table {table.name}") as part:
                duck.sql(table.select).write_parquet(str(part), compression="zstd")
            rows[table.name] = pq.read_metadata(folder / f"{table.name}.parquet").num_rows
    _write_views(folder)
    return rows


@contextmanager
def opened_star(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an export for reading, with a view for each table.

    Raises:
        InputError: There is no export.
    """
    if not (folder / DATABASE).exists():
        raise InputError(f"{folder} has no export", remedy="`vedette archive export` writes one")
    with closing(duckdb.connect(str(folder / DATABASE), read_only=True)) as duck:
        yield duck


def _write_views(folder: Path) -> None:
    with output_file(folder / DATABASE, "the views") as part, closing(duckdb.connect(str(part))) as duck:
        for table in STAR:
            file = str((folder / f"{table.name}.parquet").resolve()).replace("'", "''")
            duck.execute(f"CREATE VIEW {table.name} AS SELECT * FROM read_parquet('{file}')")  # noqa: S608, a path


def _currencies() -> pa.Table:
    """Return the value of a minor unit of each currency, as an exact decimal."""
    units: Mapping[str, str] = {code: f"{10**-places:.4f}" for code, places in CURRENCIES.items()}
    unit = pa.array(list(units.values())).cast(pa.decimal128(5, 4))
    return pa.table({"currency": list(units), "unit": unit})


def _masks(kind: pa.Array, ids: pa.Array, secret: bytes) -> pa.Array:
    """Return identifiers as hashes under a secret, which differ between kinds; null where there is none."""

    def mask(one: str, of: str) -> str:
        return blake2b(one.encode(), digest_size=_MASKED, key=secret[:64], person=of.encode()).hexdigest()

    rows = zip(ids.to_pylist(), kind.to_pylist(), strict=True)
    masks = [None if one is None else mask(one, of) for one, of in rows]
    return pa.array(masks, pa.string())
