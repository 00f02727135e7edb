"""Made-up months of payments with decisions and labels, written by the archive's own writers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archive.columns import TIME, US_PER_MS, Table
from archive.service import location
from archive.tables import TABLES
from archive.writer import TableWriter
from vedette.clock import DAY
from vedette.settings import ArchiveSettings
from vedette.topics import Name

START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
"""The first day, milliseconds since 1970-01-01 UTC."""
_COMMITS_A_DAY = 2
_MERCHANTS = 20_000
_FLAGGED = 0.01
_LABELLED = 0.02
_CHANNELS = ("ecom", "pos", "transfer", "atm")
_COUNTRIES = ("DE", "FR", "ES", "IT", "NL", "US", "GB", "PL")
_REASONS = [
    "9 payments in 1 hour; the account usually makes 2 a day",
    "950.00 EUR is 12 times the account's usual amount",
]
_CODES = ["payments-many", "amount-high"]


@dataclass(frozen=True)
class HistoryPlan:
    """Numbers of payments, accounts and days, and of payments that are left without a decision."""

    payments: int
    accounts: int
    days: int
    undecided: int = 0


def account_id(numbers: pa.Array) -> pa.Array:
    """Return the ids of accounts by their numbers."""
    digits = pc.utf8_lpad(numbers.cast(pa.string()), 9, "0")
    return pc.binary_join_element_wise("acct-", digits, "")


def write_history(settings: ArchiveSettings, plan: HistoryPlan, show: Callable[[int], None]) -> list[str]:
    """Write all payments with their decisions and labels, in some commits a day; return the undecided payments.

    Args:
        settings: An archive that is not there yet; all its tables are created.
        plan: How much.
        show: Called with the number of payments written so far.
    """
    writers = {table.topic: TableWriter(location(settings, table), table, table.topic, {}) for table in TABLES}
    tables = {table.topic: table for table in TABLES}
    random = np.random.default_rng(17)
    written, undecided = 0, list[str]()
    for size, since, length in _pieces(plan):
        events = _events(random, plan, written, size, since, length)
        undecided += _undecided(plan, written, events)
        for name, columns in events.items():
            writers[name].append(_rows(tables[name], columns), {0: written + size})
        written += size
        show(written)
    return undecided


def _undecided(plan: HistoryPlan, first: int, events: dict[Name, dict[str, pa.Array]]) -> list[str]:
    """Take the decisions on some payments away, and return these payments."""
    if not plan.undecided:
        return []
    payments, decisions = events[Name.TRANSACTIONS], events[Name.DECISIONS]
    numbers = np.arange(first, first + len(payments["kafka_offset"]))
    step = plan.payments // plan.undecided
    left = numbers % step == step - 1
    decided = pa.array(np.flatnonzero(~left))
    events[Name.DECISIONS] = {name: column.take(decided) for name, column in decisions.items()}
    return payments["transaction_id"].filter(pa.array(left)).to_pylist()  # type: ignore[no-any-return]


def _pieces(plan: HistoryPlan) -> Iterator[tuple[int, int, int]]:
    """Yield the number of payments, first event time and milliseconds of each commit."""
    count, length = plan.days * _COMMITS_A_DAY, DAY // _COMMITS_A_DAY
    ends = np.linspace(0, plan.payments, count + 1).astype(int)
    for number, size in enumerate(np.diff(ends).tolist()):
        yield size, START + number * length, length


def _events(
    random: np.random.Generator, plan: HistoryPlan, first: int, n: int, since: int, length: int
) -> dict[Name, dict[str, pa.Array]]:
    """Return n payments, their decisions and labels as columns."""
    when = np.sort(since + random.integers(0, length, n))
    account = random.integers(0, plan.accounts, n)
    flagged = random.random(n) < _FLAGGED
    labelled = np.flatnonzero(random.random(n) < _LABELLED)
    merchants = (_MERCHANTS * random.random(n) ** 3).astype(int)
    payment = {
        "transaction_id": _hexadecimal(random, n),
        "account_id": account_id(pa.array(account)),
        "amount": pa.array((random.lognormal(3.5, 1.2, n) * 100).astype(np.int64) + 1),
        "currency": _repeated("EUR", n),
        "event_time": _times(when),
        "merchant_id": _named("shop-", merchants),
        "mcc": pa.array(5000 + merchants % 900).cast(pa.string()),
        "channel": _chosen(_CHANNELS, merchants % len(_CHANNELS)),
        "country": _chosen(_COUNTRIES, (random.random(n) ** 4 * len(_COUNTRIES)).astype(int)),
        "device_id": _named("device-", account * 2 + (random.random(n) < 0.1)),
        "ip_address": _addresses(random.integers(0, 2**24, n)),
        "balance": pa.array(random.integers(0, 10**7, n)),
        "kafka_partition": pa.repeat(pa.scalar(0, pa.int32()), n),
        "kafka_offset": pa.array(np.arange(first, first + n)),
        "produced_at": _times(when + random.integers(20, 2_000, n)),
        "day": _times(when).cast(pa.date32()),
    }
    score = np.where(flagged, 0.5 + random.random(n) / 2, random.beta(0.3, 30, n))
    which = pa.array(flagged)
    decision = payment | {
        "action": pc.if_else(which, _chosen(("challenge", "review", "decline"), account % 3), "approve"),
        "score": pa.array(score),
        "expected_loss": pa.array((score * payment["amount"].to_numpy()).astype(np.int64)),
        "reasons": _lists(_REASONS, flagged),
        "reason_codes": _lists(_CODES, flagged),
        "rules": _lists(["many payments"], flagged),
        "model": _repeated("vedette@12", n),
        "policy": _repeated("standard@4", n),
        "features_hash": _repeated("0123456789abcdef", n),
        "degraded": pa.repeat(False, n),
    }
    label = {name: column.take(pa.array(labelled)) for name, column in payment.items()}
    label |= {
        "fraud": which.take(pa.array(labelled)),
        "source": _repeated("analyst", len(labelled)),
        "labelled_at": _times(when[labelled] + 3 * DAY),
    }
    return {Name.TRANSACTIONS: payment, Name.DECISIONS: decision, Name.LABELS: label}


def _rows(table: Table, columns: dict[str, pa.Array]) -> pa.Table:
    """Return the columns of a table, null where an event does not have them."""
    n = len(columns["kafka_offset"])
    arrays = []
    for field in table.schema:
        if field.name in columns:
            arrays.append(columns[field.name].cast(field.type))
        elif pa.types.is_map(field.type):
            arrays.append(pa.array([[]] * n, field.type))
        else:
            arrays.append(pa.nulls(n, field.type))
    return pa.Table.from_arrays(arrays, schema=table.schema)


def _hexadecimal(random: np.random.Generator, n: int) -> pa.Array:
    """Return n random ids of 32 characters, which compress no better than real ones."""
    text = random.bytes(16 * n).hex().encode()
    offsets = np.arange(n + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(text))


def _addresses(numbers: np.ndarray) -> pa.Array:
    """Return IPv4 addresses by their last three bytes."""
    parts = [pa.array(numbers >> shift & 255).cast(pa.string()) for shift in (16, 8, 0)]
    return pc.binary_join_element_wise("10", *parts, ".")


def _named(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


def _chosen(values: tuple[str, ...], numbers: np.ndarray) -> pa.Array:
    return pa.array(values).take(pa.array(numbers))


def _repeated(value: str, n: int) -> pa.Array:
    return pa.repeat(value, n)


def _times(ms: np.ndarray) -> pa.Array:
    return pa.array(ms * US_PER_MS, pa.int64()).cast(TIME)


def _lists(values: list[str], given: np.ndarray) -> pa.Array:
    """Return the values where they are given, else an empty list."""
    count = int(given.sum())
    offsets = pa.array(np.concatenate([[0], np.cumsum(given * len(values))]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(values * count, pa.string()))
