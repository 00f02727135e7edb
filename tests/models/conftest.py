"""A small history of payments with separable frauds, and a model trained on it."""

from pathlib import Path

import numpy as np
import pytest

from features.catalogue import NAMES
from models.folder import save
from models.frame import Frame
from models.train import TrainedModel, TrainingConfig, train
from vedette.clock import DAY

COLUMNS = ("amount_major", "account_count_1d", "is_night", "seconds_since_last", "extra.risk")
START = 1_522_540_800_000
CONFIG = TrainingConfig(trees=30, least_rows_in_leaf=20, bins=255)


@pytest.fixture(scope="session")
def history() -> Frame:
    """Thirty days of 12,000 payments by 300 accounts; large amounts at a risky place are mostly fraud."""
    rng = np.random.default_rng(7)
    rows = 12_000
    amount = rng.gamma(2.0, 30.0, rows).round(2)
    risk = rng.random(rows)
    gap = np.where(rng.random(rows) < 0.1, np.nan, rng.exponential(20_000.0, rows))
    fraud = rng.random(rows) < np.where((amount > 120) & (risk > 0.7), 0.7, 0.004)
    time = np.sort(rng.integers(START, START + 30 * DAY, rows))
    night = (rng.random(rows) < 0.2).astype(np.float64)
    count = rng.integers(1, 9, rows).astype(np.float64)
    return Frame(
        names=COLUMNS,
        matrix=np.column_stack([amount, count, night, gap, risk]),
        account=rng.integers(0, 300, rows),
        event_time=time,
        amount=np.rint(amount * 100).astype(np.int64),
        fraud=fraud,
        labelled_at=time + 7 * DAY,
    )


@pytest.fixture(scope="session")
def model(history: Frame) -> TrainedModel:
    """A model of the whole history."""
    return train(history, CONFIG)


@pytest.fixture
def folder(tmp_path: Path, history: Frame, model: TrainedModel) -> Path:
    """The model's folder."""
    path = tmp_path / "model"
    save(path, model, history, name="test", label_delay_days=7, folds=[], created_at=START, git_commit=None)
    return path


@pytest.fixture(scope="session")
def rows(history: Frame) -> np.ndarray:
    """The first 3,000 payments as the worker sees them: every feature of the catalogue, then the extra column."""
    matrix = np.full((3_000, len(NAMES) + 1), np.nan)
    for column, name in enumerate(COLUMNS[:-1]):
        matrix[:, NAMES.index(name)] = history.matrix[:3_000, column]
    matrix[:, -1] = history.matrix[:3_000, -1]
    return matrix
