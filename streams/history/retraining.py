"""Retraining from the feature log: compare with the champion, train the next model, and save its folder."""

from pathlib import Path

import msgspec

from models.folder import save
from models.protocol import Protocol
from models.retrain import ChampionComparison, compare_with_champion, next_model
from models.scorer import Scorer
from streams.history.feature_log import FeatureLog
from streams.history.model_monitor import rows_for
from vedette.events import Label


class Retraining(msgspec.Struct, frozen=True, kw_only=True):
    """A new model: its version, its folder, and how its recipe compares with the champion."""

    model: str
    folder: str
    comparison: ChampionComparison


def retrain(
    log: FeatureLog,
    labels: dict[str, Label],
    champion: Scorer,
    folder: Path,
    *,
    created_at: int,
    git_commit: str | None,
) -> Retraining:
    """Train with the champion's recipe on every payment whose label has had time to arrive, and save the model.

    The comparison comes first, from a training that ends before the test begins.

    Args:
        log: The payments to train on.
        labels: Labels by transaction.
        champion: The model whose recipe is used and which is compared with.
        folder: Folder to write the model to.
        created_at: Milliseconds UTC.
        git_commit: Commit of the code, if known.

    Raises:
        InputError: The log is too short, or has too few frauds.
    """
    contract = champion.contract
    protocol = Protocol(delay=contract.label_delay_days)
    frame = log.frame(labels, protocol.delay)
    score = champion.predict(rows_for(champion, log))
    comparison = compare_with_champion(frame, champion, score, contract.config, protocol)
    model, training = next_model(frame, contract.config, protocol.delay)
    made = save(
        folder,
        model,
        training,
        name=contract.name,
        label_delay_days=protocol.delay,
        folds=[],
        created_at=created_at,
        git_commit=git_commit,
    )
    return Retraining(model=f"{made.name}@{made.version}", folder=str(folder), comparison=comparison)
