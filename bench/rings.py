"""Ranking of accounts by their part in rings of transfers: Vedette's features beside plain degrees and IBM's snapml.

The data is that of IBM's AMLSim: files `<kind>_transactions.parquet` (`sourceNodeId`, `targetNodeId`, `value`, and
`time` in days) and `<kind>_accounts.parquet` (`nodeid`, `isFraud`). The same LightGBM learns from each kind of features
which accounts belong to a ring, and is judged by average precision on accounts that it has not seen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from bench.measurement import Measurement
from features.backfill import Backfill
from features.catalogue import NAMES
from features.links import LinkSettings, collect
from features.transaction_schema import SCHEMA
from vedette.clock import DAY
from vedette.errors import InputError

START = 1_700_006_400_000
"""The first day, milliseconds."""
_ACROSS = ("payee_live_", "incoming_")
_PARAMETERS = {
    "objective": "binary", "learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 20, "verbosity": -1,
    "num_threads": 1, "deterministic": True, "seed": 0,
}  # fmt: skip
_ROUNDS = 200
_SNAPML = {
    "num_threads": 1, "time_window": 30 * 86_400, "vertex_stats": True, "vertex_stats_cols": [4],
    "vertex_stats_feats": [0, 1, 2, 3, 4, 8, 9, 10], "fan": True, "fan_tw": 30 * 86_400, "fan_bins": [2, 3, 5, 8],
    "degree": True, "degree_tw": 30 * 86_400, "degree_bins": [2, 3, 5, 8], "scatter-gather": True,
    "scatter-gather_tw": 20 * 86_400, "scatter-gather_bins": [2, 3, 5], "temp-cycle": True,
    "temp-cycle_tw": 30 * 86_400, "temp-cycle_bins": [2, 3, 4, 6, 9], "lc-cycle": True, "lc-cycle_tw": 20 * 86_400,
    "lc-cycle_len": 8, "lc-cycle_bins": [2, 3, 4, 6],
}  # fmt: skip

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Describe = Callable[["Transfers"], Floats]


@dataclass(frozen=True)
class Transfers:
    """n transfers in order of time, and which of the m accounts belong to a ring."""

    source: Ints
    target: Ints
    minor: Ints
    time: Ints
    ring: NDArray[np.bool_]

    def between(self, since: int, until: int) -> "Transfers":
        """Return the transfers of some days."""
        which = (self.time >= START + since * DAY) & (self.time < START + until * DAY)
        return Transfers(self.source[which], self.target[which], self.minor[which], self.time[which], self.ring)

    @property
    def days(self) -> int:
        """Return the number of days."""
        return int((self.time.max() - START) // DAY) + 1


@dataclass(frozen=True)
class Rings(Measurement):
    """Average precision by test, then by kind of features; None where the library is not installed.

    Attributes:
        by_test: `<kind> by time`: learned from the first half of the days and of the accounts, judged on the others;
            `<kind> from <kind>`: learned from one file, judged on the other.
        in_rings: Share of the accounts that belong to a ring, the average precision of chance.
    """

    by_test: dict[str, dict[str, float | None]]
    in_rings: dict[str, float]

    def lines(self) -> list[str]:
        """Return a table with a row for each test."""
        names = list(next(iter(self.by_test.values())))
        lines = [f"{'average precision':<20}" + "".join(f"{name:>13}" for name in names)]
        for test, figures in self.by_test.items():
            cells = ("absent" if value is None else f"{value:.3f}" for value in figures.values())
            lines.append(f"{test:<20}" + "".join(f"{cell:>13}" for cell in cells))
        return [
            *lines,
            *(f"{kind}: {share:.3f} of the accounts belong to a ring" for kind, share in self.in_rings.items()),
        ]


def measure(folder: Path, *, say: Callable[[str], None]) -> Rings:
    """Judge each kind of features on every file of a folder.

    Args:
        folder: The files, at least two kinds.
        say: Called with a short text at each step.

    Raises:
        InputError: The folder does not have the files.
    """
    kinds = sorted(file.name.removesuffix("_transactions.parquet") for file in folder.glob("*_transactions.parquet"))
    if len(kinds) < 2:
        raise InputError(
            f"{folder} has {len(kinds)} files *_transactions.parquet, not two or more",
            remedy="name the folder of AMLSim's sample data",
        )
    files = {kind: read_transfers(folder, kind) for kind in kinds}
    whole: dict[str, dict[str, Floats]] = {}
    tests: dict[str, dict[str, float | None]] = {}
    for kind, transfers in files.items():
        half = transfers.days // 2
        early, late = transfers.between(0, half), transfers.between(half, transfers.days)
        tests[f"{kind} by time"] = {}
        whole[kind] = {}
        for name, describe in DESCRIBED.items():
            say(f"{kind}: {name}")
            try:
                before, after = describe(early), describe(late)
                whole[kind][name] = describe(transfers)
            except ModuleNotFoundError:
                tests[f"{kind} by time"][name] = None
                continue
            learned = np.arange(len(transfers.ring)) % 2 == 0
            tests[f"{kind} by time"][name] = _average_precision(
                before[learned], transfers.ring[learned], after[~learned], transfers.ring[~learned]
            )
    for training_on in kinds:
        for test_on in kinds:
            if test_on != training_on:
                tests[f"{test_on} from {training_on}"] = {
                    name: _average_precision(
                        whole[training_on][name],
                        files[training_on].ring,
                        whole[test_on][name],
                        files[test_on].ring,
                    )
                    if name in whole[training_on]
                    else None
                    for name in DESCRIBED
                }
    return Rings(tests, {kind: round(float(known.ring.mean()), 4) for kind, known in files.items()})


def read_transfers(folder: Path, kind: str) -> Transfers:
    """Return the transfers of one kind; those of a day are spread over it in the order of the file.

    Raises:
        InputError: A file is missing or has other columns.
    """
    try:
        table = pq.read_table(folder / f"{kind}_transactions.parquet").sort_by("time")
        accounts = pq.read_table(folder / f"{kind}_accounts.parquet", columns=["nodeid", "isFraud"])
        day, source, target, value = (
            table[name].to_numpy() for name in ("time", "sourceNodeId", "targetNodeId", "value")
        )
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{folder} does not hold AMLSim's {kind}: {error}", remedy="see `--help`") from error
    nodes = accounts["nodeid"].to_numpy()
    ring = np.zeros(int(max(nodes.max(), source.max(), target.max())) + 1, np.bool_)
    ring[nodes] = accounts["isFraud"].to_numpy() != 0
    first = day - day.min()
    place = np.arange(len(day)) - np.searchsorted(day, day)
    time = START + first.astype(np.int64) * DAY + place * (DAY // (np.bincount(first).max() + 1))
    minor = np.rint(value * 100).astype(np.int64)
    return Transfers(source.astype(np.int64), target.astype(np.int64), minor, time.astype(np.int64), ring)


def by_degree(transfers: Transfers) -> Floats:
    """Return the numbers of transfers and of counterparties of each account, in and out, float64[m, 4]."""
    m = len(transfers.ring)
    pairs = np.unique(np.column_stack([transfers.source, transfers.target]), axis=0)
    ends = (transfers.source, transfers.target, pairs[:, 0], pairs[:, 1])
    return np.column_stack([np.bincount(end, minlength=m) for end in ends]).astype(np.float64)


def by_vedette(transfers: Transfers, kinds: tuple[str, ...] = _ACROSS) -> Floats:
    """Return the features of transfers whose names begin with one of `kinds`, and the link features, of each account.

    Those of a transfer count for the account that sends it and for the one that receives it, as mean and maximum.
    """
    names = [f"A{number}" for number in range(len(transfers.ring))]
    n = len(transfers.time)
    given: Mapping[str, Any] = {
        "transaction_id": [f"t{row}" for row in range(n)],
        "account_id": [names[number] for number in transfers.source.tolist()],
        "payee": [names[number] for number in transfers.target.tolist()],
        "amount": transfers.minor,
        "currency": ["USD"] * n,
        "event_time": transfers.time,
        "channel": ["transfer"] * n,
    }
    arrays = [
        pa.array(given[field.name], field.type) if field.name in given else pa.nulls(n, field.type) for field in SCHEMA
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
    seen = Backfill().advance(batch)[:, [name.startswith(kinds) for name in NAMES]]
    links = collect([batch], None, LinkSettings())
    linked = np.full((len(names), links.features.shape[1]), np.nan)
    linked[[int(name[1:]) for name in links.accounts.to_pylist()]] = links.features
    return np.column_stack([_by_account(seen, transfers), linked])


def by_snapml(transfers: Transfers) -> Floats:
    """Return the graph features of snapml's preprocessor for each account, as mean and maximum over its transfers.

    Raises:
        ModuleNotFoundError: snapml is not installed.
    """
    from snapml import GraphFeaturePreprocessor

    given = np.column_stack(
        [
            np.arange(len(transfers.time)), transfers.source, transfers.target,
            (transfers.time - START) // 1000, transfers.minor / 100,
        ]
    ).astype(np.float64)  # fmt: skip
    preprocessor = GraphFeaturePreprocessor()
    preprocessor.set_params(_SNAPML)
    return _by_account(preprocessor.fit_transform(np.ascontiguousarray(given))[:, given.shape[1] :], transfers)


DESCRIBED: Mapping[str, Describe] = {
    "vedette": by_vedette,
    "and account": partial(by_vedette, kinds=(*_ACROSS, "account_")),
    "degrees": by_degree,
    "snapml": by_snapml,
}
"""Kinds of features by name: Vedette's of payees, incoming money and links; with those of the account; references."""


def _by_account(features: Floats, transfers: Transfers) -> Floats:
    """Return mean and maximum over what each account sends and receives, float64[m, 4 * features]; NaN for nothing."""
    columns = []
    for end in (transfers.source, transfers.target):
        order = np.argsort(end, kind="stable")
        accounts, starts = np.unique(end[order], return_index=True)
        known = ~np.isnan(features[order])
        filled = np.where(known, features[order], 0.0)
        counts = np.add.reduceat(known, starts, axis=0, dtype=np.int64)
        with np.errstate(invalid="ignore"):
            mean = np.add.reduceat(filled, starts, axis=0) / counts
        most = np.maximum.reduceat(np.where(known, features[order], -np.inf), starts, axis=0)
        for values in (mean, np.where(np.isinf(most), np.nan, most)):
            column = np.full((len(transfers.ring), features.shape[1]), np.nan)
            column[accounts] = values
            columns.append(column)
    return np.column_stack(columns)


def _average_precision(training: Floats, ring: NDArray[np.bool_], test: Floats, truth: NDArray[np.bool_]) -> float:
    booster = lightgbm.train(_PARAMETERS, lightgbm.Dataset(training, ring.astype(np.float64)), num_boost_round=_ROUNDS)
    return round(float(average_precision_score(truth, booster.predict(test))), 4)
