"""What decisions were made from, as archived: payments, their decisions and features, and the events before them."""

from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from archive.feature_table import feature_names
from archive.search import Archive, Question, View
from vedette.topics import Name

_FEW = 50
"""Payments up to which only the accounts are read that have to do with them."""
_SLACK = timedelta(minutes=1)
"""Messages are read so long behind the last payment: the clocks of producers differ, and entities may run ahead."""
_ARRIVED = """max(epoch_ms(produced_at)) OVER (
    PARTITION BY kafka_partition ORDER BY kafka_offset ROWS UNBOUNDED PRECEDING
) AS arrived"""
"""When a message arrived: offsets give the order in a partition, the clocks of producers that between partitions."""
_IN_ORDER = "ORDER BY arrived, kafka_partition, kafka_offset"


@dataclass(frozen=True)
class Evidence:
    """n payments with their decisions.

    Attributes:
        payments: Rows of `payments`.
        decisions: Their standing decisions in the columns of the table, and `place`, the row in `payments`; there is
            none for a payment without a decision.
        features: Their rows of the feature log, likewise.
        names: The columns of `features` that are features of the catalogue.
        accounts: The column `account_id`: accounts whose events have to do with these payments; None: all.
    """

    payments: pa.Table
    decisions: pa.Table
    features: pa.Table
    names: list[str]
    accounts: pa.Table | None


def evidence(archive: Archive, question: Question, *, seed: int | None = None) -> Evidence:
    """Return what was decided on the payments that match a query.

    Args:
        archive: Where they are.
        question: Its limit is the largest number of payments.
        seed: Draw decided payments at random; None: take all that match, with or without a decision.
    """
    drawn = f"WHERE action IS NOT NULL ORDER BY hash(transaction_id || account_id || '{seed}')"
    order = "ORDER BY event_time" if seed is None else drawn
    payments = archive.ask(question, f"SELECT * FROM payments {order}, transaction_id LIMIT $limit")  # noqa: S608, constants
    keys = ("transaction_id", "account_id", "decision_partition", "decision_offset", "merchant_id", "device_id",
            "ip_address")  # fmt: skip
    targets = payments.select(keys).append_column("place", pa.array(range(len(payments)), pa.int64()))
    days = tuple(sorted({moment.date() for moment in payments["event_time"].to_pylist()}))
    decisions = _read(
        archive, Name.DECISIONS, days,
        """SELECT s.* REPLACE (epoch_ms(s.event_time) AS event_time), place FROM decisions s
        JOIN targets t ON t.decision_partition = s.kafka_partition AND t.decision_offset = s.kafka_offset""",
        targets,
    )  # fmt: skip
    features = _read(
        archive, Name.FEATURES, days,  # published again means published identically
        """SELECT s.*, place FROM features s
        JOIN targets t ON t.transaction_id = s.transaction_id AND t.account_id = s.account_id
        QUALIFY row_number() OVER (PARTITION BY place ORDER BY s.kafka_partition, s.kafka_offset, s.kafka_row) = 1""",
        targets,
    )  # fmt: skip
    names = [name for name in feature_names(features.column_names) if name != "place"]
    accounts = _read(
        archive, Name.TRANSACTIONS, None,
        """SELECT account_id FROM targets UNION SELECT account_id FROM transactions
        WHERE merchant_id IN (SELECT merchant_id FROM targets) OR device_id IN (SELECT device_id FROM targets)
        OR ip_address IN (SELECT ip_address FROM targets)""",
        targets,
    ) if len(payments) <= _FEW else None  # fmt: skip
    return Evidence(payments, decisions, features, names, accounts)


def labels_before(archive: Archive, found: Evidence) -> pa.Table:
    """Return the labels that had arrived by the last of the payments, in the order of their arrival.

    The columns are those of the table, with times in milliseconds, and `arrived`.
    """
    with closing(_before(archive, found, Name.LABELS, "event_time, labelled_at")) as answer:
        return answer.read_all()


def transactions_before(archive: Archive, found: Evidence) -> pa.RecordBatchReader:
    """Return the transactions up to the last of the payments, in the order of their arrival.

    The columns are those of the table, with times in milliseconds, and `arrived`.
    """
    return _before(archive, found, Name.TRANSACTIONS, "event_time, account_opened_at")


def _before(archive: Archive, found: Evidence, name: Name, times: str) -> pa.RecordBatchReader:
    last = max(found.payments["produced_at"].to_pylist()) + _SLACK
    in_ms = ", ".join(f"epoch_ms({column}) AS {column}" for column in (*times.split(", "), "produced_at"))
    only = "" if found.accounts is None else "SEMI JOIN accounts USING (account_id)"
    query = f"""WITH concerned AS (SELECT *, {_ARRIVED} FROM {name} {only} WHERE produced_at <= $last)
        SELECT * REPLACE ({in_ms}) FROM concerned {_IN_ORDER}"""  # noqa: S608, constants
    tables = {} if found.accounts is None else {"accounts": found.accounts}
    return archive.stream([View(name, (None, None))], query, {"last": last}, tables)


def _read(
    archive: Archive, name: Name, days: tuple[date, ...] | None, query: str, targets: pa.Table | None = None
) -> pa.Table:
    tables: dict[str, Any] = {} if targets is None else {"targets": targets}
    with closing(archive.stream([View(name, (None, None), only=days)], query, {}, tables)) as answer:
        return answer.read_all()
