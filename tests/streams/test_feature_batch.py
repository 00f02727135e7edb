"""The feature log as messages: one list of features for each payment, which describes itself."""

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from features.catalogue import NAMES, SETTLED
from features.kernel_look import KIND_SIGNALS
from features.signals import ABSENT, INCOMING, KINDS, SIGNALS, fill_live, signals_column
from streams.arrow import by_column, feature_batch, read, write, write_within

_VERSIONS = {"model": "m@1", "policy": "p@1", "features_hash": "h"}


def _carried(n: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"transaction_id": [f"t{row}" for row in range(n)], "amount": list(range(n))})


def _features(n: int, width: int = len(NAMES)) -> NDArray[np.float64]:
    features = np.random.default_rng(0).normal(size=(n, width))
    features[:, ::7] = np.nan
    return features


def test_features_come_back_by_name_with_their_bits() -> None:
    """The result has a column for each feature, named by the metadata, with the bits that were written."""
    features, score = _features(5), np.linspace(0, 1, 5)
    found = by_column(read(write(feature_batch(_carried(5), NAMES, features, score, _VERSIONS))))
    assert found.schema.names == ["transaction_id", "amount", "score", *NAMES]
    assert found.schema.metadata == {name.encode(): version.encode() for name, version in _VERSIONS.items()}
    assert found.column("transaction_id").to_pylist() == [f"t{row}" for row in range(5)]
    columns = np.column_stack([found.column(name).to_numpy() for name in NAMES])
    assert columns.tobytes() == features.tobytes()


def test_batch_with_a_column_for_each_feature_is_read_too() -> None:
    """A topic keeps messages for months: those from before the list of features are still read."""
    old = pa.RecordBatch.from_pydict({"transaction_id": ["t"], "score": [0.5], "amount_major": [1.0]})
    assert by_column(read(write(old))).equals(old)


def test_list_without_its_names_is_refused() -> None:
    """Features without names are an error."""
    batch = feature_batch(_carried(2), NAMES, _features(2), np.zeros(2), _VERSIONS)
    with pytest.raises(pa.ArrowInvalid, match=f"{len(NAMES)} features has 0 names"):
        by_column(batch.replace_schema_metadata(None))


def test_message_is_an_ordinary_arrow_stream() -> None:
    """Any Arrow library reads a message: it has the bytes that Arrow's own writer gives."""
    batch = feature_batch(_carried(3), NAMES, _features(3), np.zeros(3), _VERSIONS)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    assert write(batch) == sink.getvalue().to_pybytes()


def test_parts_of_a_batch_that_was_cut_hold_all_rows() -> None:
    """A batch that is split to the size its topic accepts loses no row and mixes up none."""
    features = _features(50)
    whole = feature_batch(_carried(50), NAMES, features, np.zeros(50), _VERSIONS)
    parts = [by_column(read(message)) for message in write_within(whole, 12_000)]
    assert len(parts) > 1
    assert [row for part in parts for row in part.column("transaction_id").to_pylist()] == [f"t{i}" for i in range(50)]
    matrices = [np.column_stack([part.column(name).to_numpy() for name in NAMES]) for part in parts]
    assert np.concatenate(matrices).tobytes() == features.tobytes()


def _signals(n: int) -> NDArray[np.int64]:
    """Return signals in which some entities are absent."""
    rng = np.random.default_rng(1)
    signals = np.where(rng.random((n, SIGNALS)) < 0.6, 0, rng.integers(0, 1 << 40, (n, SIGNALS)))
    for kind in range(KINDS):
        signals[kind::KINDS, kind * KIND_SIGNALS : (kind + 1) * KIND_SIGNALS] = ABSENT
    return signals


def _with_signals(n: int, currencies: list[str | None]) -> pa.RecordBatch:
    carried = _carried(n).append_column("currency", pa.array(currencies, pa.string()))
    carried = carried.append_column("signals", signals_column(_signals(n)))
    names = (*SETTLED, "extra.risk")
    return feature_batch(carried, names, _features(n, len(names)), np.zeros(n), _VERSIONS)


def test_live_features_are_those_of_the_logged_signals() -> None:
    """The log has the signals; its reader gets every feature of the catalogue, bit for bit, then the vendor's."""
    currencies: list[str | None] = ["EUR", "JPY", "KWD", "EUR", "EUR", "EUR", "JPY"]
    found = by_column(read(write(_with_signals(7, currencies))))
    assert found.schema.names == ["transaction_id", "amount", "currency", "score", *NAMES, "extra.risk"]
    logged = _features(7, len(SETTLED) + 1)
    expected = np.empty((7, len(NAMES)))
    expected[:, : len(SETTLED)] = logged[:, : len(SETTLED)]
    fill_live(_signals(7), np.array([100.0, 1.0, 1000.0, 100.0, 100.0, 100.0, 1.0]), expected)
    assert not np.isnan(expected[:, len(SETTLED) :]).all()
    assert np.column_stack([found.column(name).to_numpy() for name in NAMES]).tobytes() == expected.tobytes()
    assert found.column("extra.risk").to_numpy().tobytes() == logged[:, -1].tobytes()
    assert INCOMING == KINDS - 1


def test_signals_that_cannot_be_read_are_refused() -> None:
    """Signals of another release, features of another catalogue and an unknown currency are errors, not zeros."""
    whole = _with_signals(2, ["EUR", "EUR"])
    place = whole.schema.get_field_index("signals")
    other = whole.set_column(place, "signals", pa.array([b"\x09\x00", b"\x09\x00"]))
    with pytest.raises(pa.ArrowInvalid, match="not of a version that this release knows"):
        by_column(other)
    renamed = {b"features": (whole.schema.metadata or {})[b"features"].replace(b"amount_major", b"amount_minor")}
    with pytest.raises(pa.ArrowInvalid, match="another catalogue"):
        by_column(whole.replace_schema_metadata({**(whole.schema.metadata or {}), **renamed}))
    with pytest.raises(pa.ArrowInvalid, match="'XXQ'"):
        by_column(_with_signals(2, ["EUR", "XXQ"]))
