"""The canonical frame: the form of simulated and mapped transactions before they become events.

Columns have the names of vedette.events.Transaction. Three more describe the label and are never sent with a
transaction: `fraud`, `labelled_at` and `scenario`. Columns added by an institution are `extra.<name>`.
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
        pa.field("kind", pa.string()),
        pa.field("original_id", pa.string()),
        pa.field("fraud", pa.bool_()),
        pa.field("labelled_at", pa.int64()),
        pa.field("scenario", pa.string()),
    ]
)

_TRUTH = ("fraud", "labelled_at", "scenario")
_SENT = tuple(name for name in SCHEMA.names if name not in _TRUTH)


def schema_with(extras: Iterable[str]) -> pa.Schema:
    """Return the canonical schema with a nullable float column `extra.<name>` appended per name."""
    return pa.schema([*SCHEMA, *(pa.field(EXTRA + name, pa.float64()) for name in extras)])


def rows_to_transactions(batch: pa.RecordBatch) -> list[Transaction]:
    """Return the transactions of a canonical batch, in its order; a null column or value is left out of the event."""
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
    """Return the labels of a canonical batch, in its order.

    Args:
        batch: A canonical batch.
        source: Source of the labels, such as "simulator" or the name of a mapping.
        frauds_only: Leave out genuine transactions. Rows whose label is unknown (null) never give a label.
    """
    names = (
        "fraud", "labelled_at", "transaction_id", "account_id", "event_time", "merchant_id", "device_id", "ip_address",
        "payee",
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
            payee=payee,
        )
        for fraud, labelled_at, transaction, account, time, merchant, device, address, payee in zip(
            *(batch.column(name).to_pylist() for name in names), strict=True
        )
        if fraud in wanted and labelled_at is not None
    ]
