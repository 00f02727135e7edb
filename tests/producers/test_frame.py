import math
from collections.abc import Callable

import msgspec
import pyarrow as pa

from producers.frame import SCHEMA, rows_to_labels, rows_to_transactions, schema_with
from vedette.events import Transaction


def test_the_schema_has_every_field_of_a_transaction_and_the_truth() -> None:
    """A field added to Transaction must be added to the canonical frame."""
    fields = set(Transaction.__struct_fields__) - {"extra"}
    assert set(SCHEMA.names) == fields | {"fraud", "labelled_at", "scenario"}


def test_a_row_survives_the_way_through_json(frame: Callable[..., pa.RecordBatch]) -> None:
    """A row of the frame is exactly what a reader of the topic decodes."""
    batch = frame(
        amount=[10**15, 1], lat=[48.123456789, None], payee=["p", None], balance=[-5, None], fraud=[True, False]
    )
    first, second = (
        msgspec.json.decode(msgspec.json.encode(row), type=Transaction) for row in rows_to_transactions(batch)
    )
    assert (first.amount, first.lat, first.payee, first.balance) == (10**15, 48.123456789, "p", -5)
    assert (second.amount, second.lat, second.payee, second.balance) == (1, None, None, None)


def test_extra_columns_become_extra_values_without_the_missing_ones(frame: Callable[..., pa.RecordBatch]) -> None:
    """An extra value that is null is left out instead of being sent as null, which no reader accepts."""
    batch = frame(amount=[1, 2])
    wide = pa.RecordBatch.from_arrays(
        [*batch.columns, pa.array([1.5, None]), pa.array([-2.0, math.pi])], schema=schema_with(["V1", "V2"])
    )
    assert [row.extra for row in rows_to_transactions(wide)] == [{"V1": 1.5, "V2": -2.0}, {"V2": math.pi}]


def test_no_rows_give_no_transactions(frame: Callable[..., pa.RecordBatch]) -> None:
    """An empty batch is not an error."""
    assert rows_to_transactions(frame(amount=[])) == []


def test_labels_are_made_where_the_truth_is_known(frame: Callable[..., pa.RecordBatch]) -> None:
    """Frauds alone by default, genuine ones on request, unknown ones never."""
    batch = frame(fraud=[True, False, None], labelled_at=[5, 6, 7], device_id=["d", None, None])
    (fraud,) = rows_to_labels(batch, "file")
    assert (fraud.transaction_id, fraud.fraud, fraud.labelled_at, fraud.device_id) == ("t0", True, 5, "d")
    assert [label.fraud for label in rows_to_labels(batch, "file", frauds_only=False)] == [True, False]
