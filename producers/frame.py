"""The canonical frame: what the simulator and every mapped file look like before they become events.

Columns carry the names of vedette.events.Transaction. Three more describe the truth and are never sent with a
transaction: `fraud`, `labelled_at` and `scenario`. What an institution adds of its own is `extra.<name>`.
"""

from collections.abc import Iterable

import pyarrow as pa

from vedette.events import EXTRA, Label, Transaction

SCHEMA = pa.schema(
    [
        pa.field("transaction_id", pa.string(), nullable=False),
        pa.field("account_id", pa.string(), nullable=False),
        pa.field("amount", pa.int64(), nullable=False),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("event_time", pa.int64(), nullable=False),
        pa.field("merchant_id", pa.string()),
        pa.field("payee", pa.string()),
        pa.field("mcc", pa.string()),
        pa.field("channel", pa.string()),
        pa.field("country", pa.string()),
        pa.field("lat", pa.float64()),
        pa.field("lon", pa.float64()),
        pa.field("device_id", pa.string()),
        pa.field("ip_address", pa.string()),
        pa.field("balance", pa.int64()),
        pa.field("account_type", pa.string()),
        pa.field("account_opened_at", pa.int64()),
        pa.field("fraud", pa.bool_()),
        pa.field("labelled_at", pa.int64()),
        pa.field("scenario", pa.string()),
    ]
)

_TRUTH = ("fraud", "labelled_at", "scenario")
_SENT = tuple(name for name in SCHEMA.names if name not in _TRUTH)


def schema_with(extras: Iterable[str]) -> pa.Schema:
    """The canonical schema with a nullable float column `extra.<name>` appended per name."""
    return pa.schema([*SCHEMA, *(pa.field(EXTRA + name, pa.float64()) for name in extras)])


def rows_to_transactions(batch: pa.RecordBatch) -> list[Transaction]:
    """The transactions of a canonical batch, in its order; a null column or value is left out of the event."""
    columns = {name: batch.column(name).to_pylist() for name in _SENT if batch.column(name).null_count < batch.num_rows}
    extras = {
        name.removeprefix(EXTRA): batch.column(name).to_pylist()
        for name in batch.schema.names
        if name.startswith(EXTRA) and batch.column(name).null_count < batch.num_rows
    }
    if extras:
        names = tuple(extras)
        columns["extra"] = [
            {name: value for name, value in zip(names, row, strict=True) if value is not None}
            for row in zip(*extras.values(), strict=True)
        ]
    names = tuple(columns)
    return [Transaction(**dict(zip(names, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def rows_to_labels(batch: pa.RecordBatch, source: str, *, frauds_only: bool = True) -> list[Label]:
    """The labels of a canonical batch, in its order.

    Args:
        batch: A canonical batch.
        source: Who says so, such as "simulator" or a mapping's name.
        frauds_only: Leave the genuine transactions out. Rows whose truth is unknown (null) never give a label.
    """
    names = (
        "fraud", "labelled_at", "transaction_id", "account_id", "event_time", "merchant_id", "device_id", "ip_address",
    )  # fmt: skip
    wanted = (True,) if frauds_only else (True, False)
    return [
        Label(
            transaction_id=transaction,
            account_id=account,
            fraud=fraud,
            source=source,
            event_time=time,
            labelled_at=labelled_at,
            merchant_id=merchant,
            device_id=device,
            ip_address=address,
        )
        for fraud, labelled_at, transaction, account, time, merchant, device, address in zip(
            *(batch.column(name).to_pylist() for name in names), strict=True
        )
        if fraud in wanted and labelled_at is not None
    ]
