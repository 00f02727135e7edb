"""The model folder: `model.txt` (LightGBM), `contract.json` (inputs and provenance), `baseline.json` (for drift)."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from adapters.files import sync_folder
from features.catalogue import hash_for
from models import provenance
from models.calibration import Calibration
from models.evaluate import FoldResult
from models.file_names import BASELINE, BOOSTER, CONTRACT
from models.frame import Frame
from models.metrics import ScoreMetrics
from models.train import ModelThresholds, TrainedModel, TrainingConfig
from vedette.clock import DAY
from vedette.errors import ModelError
from vedette.events import EXTRA

FORMAT = 1
File = TypeVar("File", bound=msgspec.Struct)

LEVELS = tuple(level / 100 for level in range(101))
"""Levels of the quantiles in the baseline."""


class Contract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a model guarantees and requires. Times are milliseconds UTC.

    Attributes:
        format: Version of this layout.
        name: Name of the model; with `version` it is unique.
        version: First eight hexadecimal digits of `model_sha256`.
        created_at: Time of training.
        features: Columns of the booster in order; those with the prefix `extra.` come with the transaction.
        features_hash: Hash of the feature catalogue it was trained with, see features.catalogue.hash_for.
        trained_from: Event time of the first training row.
        trained_to: Event time of the last training row.
        training_rows: Number of training rows.
        training_frauds: Frauds among them.
        data_hash: SHA-256 of the training rows.
        label_delay_days: Days that a label takes to arrive.
        validation: Metrics of the latest training rows; calibration and threshold were fitted on them.
        folds: Metrics of the folds of the protocol, on rows that were not trained on.
        thresholds: Probabilities at and above which a payment is flagged.
        calibration: Map from the booster's margin to a probability.
        config: Parameters of the training.
        libraries: Versions of the libraries that made it.
        git_commit: Commit of the code that made it, if it was a checkout.
        approvals: People who approved it; filled in later.
        model_sha256: SHA-256 of `model.txt`.
    """

    format: int = FORMAT
    name: str
    version: str
    created_at: int
    features: list[str]
    features_hash: str
    trained_from: int
    trained_to: int
    training_rows: int
    training_frauds: int
    data_hash: str
    label_delay_days: int
    validation: ScoreMetrics
    folds: list[FoldResult]
    thresholds: ModelThresholds
    calibration: Calibration
    config: TrainingConfig
    libraries: dict[str, str]
    git_commit: str | None
    approvals: list[str] = []
    model_sha256: str


class BaselineDistribution(msgspec.Struct, frozen=True, kw_only=True):
    """Distribution of one column in training: the share of missing values, and quantiles of the others."""

    missing: float
    quantiles: list[float]


class Baseline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The reference against which drift is measured.

    Attributes:
        format: Version of this layout.
        levels: Levels of the quantiles.
        features: Distribution of each feature of the booster.
        score: Distribution of the calibrated probability.
        currency: The currency of all training rows; empty if they have several, or it is not known.
    """

    format: int = FORMAT
    levels: list[float]
    features: dict[str, BaselineDistribution]
    score: BaselineDistribution
    currency: str = ""


def save(
    folder: Path,
    model: TrainedModel,
    frame: Frame,
    *,
    name: str,
    label_delay_days: int,
    folds: list[FoldResult],
    created_at: int,
    git_commit: str | None,
) -> Contract:
    """Write a model folder, replacing an existing one; a reader never sees half of it.

    Args:
        folder: Path of the folder; its parents are created.
        model: Result of `train`.
        frame: The rows it was trained on.
        name: Name of the model.
        label_delay_days: Days that a label takes to arrive.
        folds: Results of `evaluate`.
        created_at: Milliseconds UTC.
        git_commit: Commit of the code, if known.
    """
    booster = model.text.encode()
    sha256 = hashlib.sha256(booster).hexdigest()
    contract = Contract(
        name=name,
        version=sha256[:8],
        created_at=created_at,
        features=list(model.names),
        features_hash=hash_for(model.names, label_delay_days * DAY),
        trained_from=int(frame.event_time[0]),
        trained_to=int(frame.event_time[-1]),
        training_rows=len(frame),
        training_frauds=int(frame.fraud.sum()),
        data_hash=provenance.data_hash(frame),
        label_delay_days=label_delay_days,
        validation=model.validation,
        folds=folds,
        thresholds=model.thresholds,
        calibration=model.calibration,
        config=model.config,
        libraries=provenance.libraries(),
        git_commit=git_commit,
        model_sha256=sha256,
    )
    _replace(folder, {BOOSTER: booster, CONTRACT: _pretty(contract), BASELINE: _pretty(_baseline(model, frame))})
    return contract


def read_contract(folder: Path) -> Contract:
    """Return the contract of a model folder.

    Raises:
        ModelError: The folder or file is missing, not valid, or of a newer layout.
    """
    return _read(folder, CONTRACT, Contract)


def read_baseline(folder: Path) -> Baseline:
    """Return the baseline of a model folder.

    Raises:
        ModelError: The folder or file is missing, not valid, or of a newer layout.
    """
    return _read(folder, BASELINE, Baseline)


def read_booster(folder: Path, contract: Contract) -> str:
    """Return the text of the booster, if its hash is the one in the contract.

    Raises:
        ModelError: The file is missing or has other bytes than when the contract was written.
    """
    content = _bytes(folder, BOOSTER)
    found = hashlib.sha256(content).hexdigest()
    if found != contract.model_sha256:
        raise ModelError(
            f"{folder / BOOSTER} has SHA-256 {found[:12]}…, its contract says {contract.model_sha256[:12]}…",
            remedy="the file was changed or cut short: copy the folder again or train again",
        )
    return content.decode()


def extra_columns(contract: Contract) -> tuple[str, ...]:
    """Return the names of the columns that come with the transaction, without their prefix."""
    return tuple(name.removeprefix(EXTRA) for name in contract.features if name.startswith(EXTRA))


def _baseline(model: TrainedModel, frame: Frame) -> Baseline:
    return Baseline(
        levels=list(LEVELS),
        features={name: _distribution(frame.matrix[:, column]) for column, name in enumerate(frame.names)},
        score=_distribution(model.predict(frame.matrix)),
        currency=frame.currency,
    )


def _distribution(values: Any) -> BaselineDistribution:
    known = values[~np.isnan(values)]
    quantiles = np.quantile(known, LEVELS).tolist() if len(known) else []
    return BaselineDistribution(missing=1 - len(known) / len(values), quantiles=quantiles)


def _read(folder: Path, file: str, kind: type[File]) -> File:
    content = _bytes(folder, file)
    try:
        layout = msgspec.json.decode(content, type=dict[str, msgspec.Raw]).get("format")
        if layout is not None and msgspec.json.decode(layout, type=int) > FORMAT:
            raise ModelError(
                f"{folder / file} has layout {bytes(layout).decode()}, this version reads up to {FORMAT}",
                remedy="upgrade Vedette",
            )
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise ModelError(f"{folder / file}: {error}", remedy="copy the folder again or train again") from error


def _bytes(folder: Path, file: str) -> bytes:
    try:
        return (folder / file).read_bytes()
    except OSError as error:
        raise ModelError(
            f"model file {folder / file} cannot be read: {error.strerror}",
            remedy="name a folder that `vedette train` has written",
        ) from error


def _pretty(value: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _replace(folder: Path, files: dict[str, bytes]) -> None:
    """Write next to the folder, then rename, so that the folder is either the old one or the new one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    fresh.chmod(0o755)
    try:
        for file, content in files.items():
            with (fresh / file).open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        sync_folder(fresh)
        if folder.exists():
            retired = fresh.with_name(fresh.name + "-old")
            folder.rename(retired)
            fresh.rename(folder)
            shutil.rmtree(retired)
        else:
            fresh.rename(folder)
        sync_folder(folder.parent)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
