import numpy as np
import pyarrow as pa
import pytest

from features.backfill import backfill
from models.frame import collect
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette.errors import InputError


def batch(times: list[int], fraud: list[bool | None], accounts: list[str]) -> pa.RecordBatch:
    """What the backfill yields, reduced to a few columns."""
    return pa.record_batch(
        {
            "account_id": accounts,
            "event_time": pa.array(times, pa.int64()),
            "amount": pa.array([100] * len(times), pa.int64()),
            "fraud": pa.array(fraud, pa.bool_()),
            "labelled_at": pa.array([None] * len(times), pa.int64()),
            "extra.z": pa.array([float(time) for time in times]),
            "other": pa.array([0.0] * len(times)),
            "extra.a": pa.array([None] * len(times), pa.float64()),
            "amount_to_balance": pa.array([0.5] * len(times)),
        }
    )


def test_batches_become_one_frame_with_the_chosen_features_and_all_extras() -> None:
    """Columns are the features asked for and the sorted extras; a null is NaN; accounts keep their identity."""
    frame = collect([batch([1, 2], [False, True], ["a", "b"]), batch([3], [False], ["a"])], ("amount_to_balance",))
    assert frame.names == ("amount_to_balance", "extra.a", "extra.z")
    assert frame.matrix[:, 2].tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(frame.matrix[:, 1]).all()
    assert frame.account[0] == frame.account[2] != frame.account[1]
    assert frame.fraud.tolist() == [False, True, False]


def test_a_history_keeps_its_currency() -> None:
    """Amounts of a single currency can be compared with each other, so reasons may say what is usual."""
    simulated = simulate(Simulation(customers=20, terminals=20, days=2, seed=1))
    assert collect(backfill(simulated), ("amount_to_balance",)).currency == "EUR"


def test_rows_without_a_label_are_left_out() -> None:
    """Rows without labels serve neither for training nor for testing."""
    frame = collect([batch([1, 2, 3], [False, None, True], ["a", "b", "c"])], ("amount_to_balance",))
    assert frame.event_time.tolist() == [1, 3]
    assert frame.matrix[:, 2].tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no transactions"),
        ([batch([1], [None], ["a"])], "none of 1 transactions has a label"),
        ([batch([2, 1], [False, True], ["a", "b"])], "order of event time"),
    ],
)
def test_what_cannot_teach_is_refused(batches: list[pa.RecordBatch], message: str) -> None:
    """No rows, no labels and no order each have their own sentence."""
    with pytest.raises(InputError, match=message):
        collect(batches, ("amount_to_balance",))
