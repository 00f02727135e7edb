"""The feature log as a table, whatever the catalogue was when a message was published."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from archive.feature_table import FEATURES, feature_names
from archive.writer import TableWriter
from streams.arrow import feature_batch, write
from tests.archive.conftest import HOUR, START, Stored

VERSIONS = {"model": "m@1", "policy": "p@2", "features_hash": "abc"}


def carried(first: int, n: int) -> pa.RecordBatch:
    """Return the ids of n payments of a batch, and who decided them."""
    numbers = range(first, first + n)
    return pa.RecordBatch.from_pydict(
        {
            "transaction_id": [f"t{number}" for number in numbers],
            "account_id": [f"a{number % 5}" for number in numbers],
            "event_time": [START + number * HOUR for number in numbers],
            "amount": [100 * number for number in numbers],
            "role": ["champion"] * n,
            "model": ["m@1"] * n,
            "action": pa.array([number % 4 for number in numbers], pa.int64()),
            "shadow_model": [""] * n,
            "shadow_score": pa.array([float("nan")] * n, pa.float64()),
            "shadow_action": pa.array([-1] * n, pa.int64()),
        }
    )


def logged(names: Sequence[str], features: list[list[float]], first: int = 0) -> bytes:
    """A message of the feature log as the worker writes it."""
    matrix = np.array(features, np.float64)
    score = np.full(len(features), 0.25)
    return write(feature_batch(carried(first, len(features)), tuple(names), matrix, score, VERSIONS))


def logged_by_column(names: Sequence[str], features: list[list[float]], first: int = 0) -> bytes:
    """A message as earlier versions wrote it, with a column for each feature."""
    table = carried(first, len(features)).to_pydict() | {"score": [0.25] * len(features)}
    columns = {name: [row[place] for row in features] for place, name in enumerate(names)}
    batch = pa.RecordBatch.from_pydict(table | columns)
    return write(batch.replace_schema_metadata(VERSIONS))


@pytest.mark.parametrize("make", [logged, logged_by_column])
def test_a_payment_is_a_row_with_a_column_for_each_feature(make: object) -> None:
    """Both forms of the message give the same rows; extra columns of a model are a map, as in transactions."""
    names = ["amount_major", "extra.distance", "hour"]
    message = Stored(2, 7, START, make(names, [[1.5, 3.0, 4.0], [2.5, float("nan"), 5.0]]))  # type: ignore[operator]
    table, rejected = FEATURES.rows([message])
    assert not rejected
    assert feature_names(table.column_names) == ["amount_major", "hour"]
    first, second = table.to_pylist()
    assert (first["amount_major"], first["hour"], first["extra"]) == (1.5, 4.0, [("distance", 3.0)])
    assert (second["hour"], np.isnan(second["extra"][0][1])) == (5.0, True)
    assert [(row["kafka_partition"], row["kafka_offset"], row["kafka_row"]) for row in (first, second)] == [
        (2, 7, 0),
        (2, 7, 1),
    ]
    assert (second["action"], second["shadow_action"], second["policy"]) == ("challenge", None, "p@2")
    assert (second["score"], str(second["day"])) == (0.25, "2023-11-14")


def test_names_stay_when_the_catalogue_changes(tmp_path: Path) -> None:
    """A feature keeps its column wherever it is in the list; a new one is null before, a removed one null after."""
    uri = str(tmp_path / "features")
    writer = TableWriter(uri, FEATURES, "features", {})
    for offset, (names, row) in enumerate(
        [(["hour", "gone"], [1.0, 2.0]), (["new", "hour"], [3.0, 4.0]), (["hour"], [5.0])]
    ):
        rows, _ = FEATURES.rows([Stored(0, offset, START, logged(names, [row], first=offset))])
        writer.append(rows, {0: offset + 1})
    rows = DeltaTable(uri).to_pyarrow_table().sort_by("kafka_offset")
    assert rows.select(["hour", "gone", "new"]).to_pylist() == [
        {"hour": 1.0, "gone": 2.0, "new": None},
        {"hour": 4.0, "gone": None, "new": 3.0},
        {"hour": 5.0, "gone": None, "new": None},
    ]


def test_messages_of_two_catalogues_are_appended_at_once() -> None:
    """A change of the catalogue in the middle of an append loses no row."""
    table, rejected = FEATURES.rows(
        [
            Stored(0, 0, START, logged(["hour"], [[1.0]])),
            Stored(0, 1, START, b"not Arrow"),
            Stored(0, 2, START, logged(["weekday"], [[2.0]], first=1)),
        ]
    )
    assert [message.offset for message in rejected] == [1]
    assert table.select(["hour", "weekday"]).to_pylist() == [
        {"hour": 1.0, "weekday": None},
        {"hour": None, "weekday": 2.0},
    ]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        logged(["hour"], [[1.0]])[:-200],
        write(pa.RecordBatch.from_pydict({"entity": [1]})),
        write(carried(0, 2)),
    ],
    ids=["tombstone", "empty", "cut", "activity", "without versions"],
)
def test_what_is_not_a_feature_log_is_passed(value: bytes | None) -> None:
    """It is counted as rejected and never stops the archive."""
    table, rejected = FEATURES.rows([Stored(0, 0, START, value)])
    assert (len(table), len(rejected)) == (0, 1)
    assert table.schema == FEATURES.schema


def text_beyond_the_message() -> bytes:
    """A message whose first text claims to end four billion bytes later."""
    whole = logged(["hour"], [[1.0], [2.0]])
    offsets = np.array([0, 2, 4], np.int32).tobytes()  # of "t0t1"
    assert offsets in whole
    return whole.replace(offsets, np.array([0, 2**30, 4], np.int32).tobytes())


def without_batch() -> bytes:
    """A stream that holds only its schema."""
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, carried(0, 1).schema).close()
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "value",
    [
        text_beyond_the_message(),
        without_batch(),
        logged(["hour"], [[1.0]])[:300],
        logged(["hour"], [[1.0]])[:-200],
        logged(["transaction_id"], [[1.0]]),
        logged(["kafka_offset"], [[1.0]]),
        logged(["hour"], [[1.0]]).replace(b'["hour"]', b'[["ho"]]'),
        logged(["hour"], [[1.0]]).replace(b'["hour"]', b"[7     ]"),
        logged_by_column(["score"], [[1.0]]).replace(b"features_hash", b"features_hush"),
        b"",
    ],
    ids=[
        "text beyond the message", "no batch", "cut in its schema", "cut in its values", "feature over an id",
        "feature over a place", "names are lists", "names are numbers", "no version", "empty",
    ],
)  # fmt: skip
def test_no_message_stops_the_archive(value: bytes) -> None:
    """A message that is not a batch of the feature log is set aside alone, and nothing beyond its end is read."""
    good = Stored(2, 7, START, logged(["hour"], [[1.0]]))
    table, rejected = FEATURES.rows([good, Stored(2, 8, START, value)])
    assert [message.offset for message in rejected] == [8]
    assert table["transaction_id"].to_pylist() == ["t0"]
