"""Rows of the archive's tables as the worker and the tools know them."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from decisions.policy_form import ACTIONS
from features.catalogue import NAMES, SETTLED
from features.signals import with_live
from features.transaction_schema import SCHEMA
from streams.decode import refused
from streams.history.control_state import ControlState
from streams.history.feature_log import OWN, FeatureLog
from vedette.control import ControlRecord, Models, PolicyRecord
from vedette.errors import InputError
from vedette.events import EXTRA

_NO_ACTION = -1


def valid(piece: pa.RecordBatch, max_future_ms: float, beside: Sequence[str]) -> pa.RecordBatch:
    """Return the transactions that the worker takes: the archive also has those that it sets aside.

    Args:
        piece: Columns as the fields of Transaction, `produced_at` and those of `beside`.
        max_future_ms: See streams.decode.decode_transactions.
        beside: Columns to keep beside those of SCHEMA.
    """
    columns = [piece.column(field.name).cast(field.type) for field in SCHEMA]
    latest = piece.column("produced_at").to_numpy() + max_future_ms
    batch, wrong = refused(pa.RecordBatch.from_arrays(columns, schema=SCHEMA), latest)
    for name in beside:
        batch = batch.append_column(name, piece.column(name))
    return batch.filter(pa.array(~wrong)) if wrong.any() else batch


def history(
    pieces: Iterable[pa.RecordBatch], max_future_ms: float, *, extra: Sequence[str] = (), labelled: bool = False
) -> Iterator[pa.RecordBatch]:
    """Yield transactions in batches as for features.backfill.Backfill.advance, with recorded decisions.

    Args:
        pieces: As archive.past.transactions gives them.
        max_future_ms: See streams.decode.decode_transactions.
        extra: Names of vendor features, which become columns `extra.<name>`.
        labelled: Take a payment that nobody has reported for an honest one, as training does.
    """
    for piece in pieces:
        batch = valid(piece, max_future_ms, ("extra", "fraud", "labelled_at", "recorded_action", "recorded_score"))
        if not len(batch):
            continue
        fraud, action = batch.column("fraud"), pc.index_in(batch.column("recorded_action"), pa.array(ACTIONS))
        columns = {name: batch.column(name) for name in SCHEMA.names}
        columns["fraud"] = fraud.fill_null(False) if labelled else fraud
        columns["labelled_at"] = batch.column("labelled_at")
        columns["recorded_action"] = action.cast(pa.int8())
        columns["recorded_score"] = batch.column("recorded_score").cast(pa.float64())
        for name in extra:
            columns[EXTRA + name] = pc.map_lookup(batch.column("extra"), name, "first")
        yield pa.RecordBatch.from_pydict(columns)


def feature_log(table: pa.Table) -> FeatureLog:
    """Return the feature log in the form that the topic's reader gives.

    Args:
        table: As archive.past.feature_log gives it.

    Raises:
        InputError: There are no payments, or features are missing.
    """
    if not len(table):
        raise InputError(
            "the archived feature log holds no payment of this feature catalogue in the period",
            remedy="look further back, or let a worker decide on some first",
        )
    extra = sorted({key for row in table["extra"].to_pylist() for key, _ in row or ()})
    matrix = [_features(table), *(_lookup(table["extra"], name) for name in extra)]
    for name in ("action", "shadow_action"):
        codes = pc.fill_null(pc.index_in(table[name], pa.array(ACTIONS)).cast(pa.int64()), _NO_ACTION)
        table = table.set_column(table.column_names.index(name), name, codes)
    names = (*NAMES, *(EXTRA + name for name in extra))
    return FeatureLog(table.select(list(OWN)), names, np.column_stack(matrix), 0)


def _features(table: pa.Table) -> NDArray[np.float64]:
    """Return the features of the catalogue, float64[n, features]; live ones from the signals where there are any."""
    seen = table["signals"].is_valid().to_numpy()
    needed = SETTLED if seen.all() else NAMES  # earlier versions logged the live features
    if missing := [name for name in needed if name not in table.column_names]:
        raise InputError(f"the archived feature log lacks {', '.join(missing)}")
    features = np.full((len(table), len(NAMES)), np.nan)
    features[:, : len(needed)] = np.column_stack([pc.fill_null(table[name], np.nan).to_numpy() for name in needed])
    signals, currency = (table[name].filter(pa.array(seen)).combine_chunks() for name in ("signals", "currency"))
    features[seen] = with_live(features[seen, : len(SETTLED)], signals.to_pylist(), currency)
    return features


def control_state(records: Iterable[ControlRecord]) -> ControlState:
    """Return the state of the control topic after some records."""
    latest: dict[type, ControlRecord] = {type(record): record for record in records}
    models, policy = latest.get(Models), latest.get(PolicyRecord)
    assert models is None or isinstance(models, Models)  # noqa: S101, by its key
    assert policy is None or isinstance(policy, PolicyRecord)  # noqa: S101, by its key
    return ControlState(models=models, policy=policy)


def _lookup(maps: pa.ChunkedArray, name: str) -> np.ndarray:
    values: np.ndarray = pc.fill_null(pc.map_lookup(maps, name, "first"), np.nan).to_numpy()
    return values
