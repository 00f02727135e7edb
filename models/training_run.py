"""A whole training: evaluate the recipe on the folds, train the final model, and save its folder."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from models.evaluate import FoldResult, evaluate, teaching
from models.folder import Contract, save
from models.frame import Frame
from models.metrics import ScoreMetrics
from models.protocol import Protocol
from models.train import Learn, TrainingConfig, boost, train


class TrainingRun(NamedTuple):
    """The result of a training.

    Attributes:
        contract: Contract of the model folder.
        folds: Results of the folds, the earliest first.
        validation: Metrics of the final model on its calibration rows.
        rows: Number of payments on which the final model was trained.
    """

    contract: Contract
    folds: list[FoldResult]
    validation: ScoreMetrics
    rows: int


def train_and_save(
    frame: Frame,
    protocol: Protocol,
    config: TrainingConfig,
    folder: Path,
    *,
    name: str,
    created_at: int,
    git_commit: str | None,
    learn: Learn = boost,
    on_fold: Callable[[int], None] = lambda _: None,
) -> TrainingRun:
    """Evaluate a recipe on the folds of a protocol, train on the latest labelled rows, and save the model.

    Args:
        frame: All payments with labels, in the order of event time.
        protocol: The folds and the label delay.
        config: The recipe.
        folder: Folder to write the model to.
        name: Name of the model.
        created_at: Milliseconds UTC.
        git_commit: Commit of the code, if known.
        learn: Trains a booster, on this machine or on a cluster.
        on_fold: Called after each fold with the number of folds done.

    Raises:
        InputError: The data is shorter than the label delay, or has too few frauds.
        LeakageError: The training would use what is not known at scoring time.
    """
    training = teaching(frame, protocol)
    folds: list[FoldResult] = []
    for result in evaluate(frame, protocol, config, learn):
        folds.append(result)
        on_fold(len(folds))
    model = train(training, config, learn)
    contract = save(
        folder,
        model,
        training,
        name=name,
        label_delay_days=protocol.delay,
        folds=folds,
        created_at=created_at,
        git_commit=git_commit,
    )
    return TrainingRun(contract, folds, model.validation, len(training))
