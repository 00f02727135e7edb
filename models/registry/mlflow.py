"""MLflow without its telemetry, progress bars and chatter, and what a run says of a model."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from models.evaluate import mean
from models.folder import Contract
from vedette.errors import UnavailableError


@contextmanager
def library() -> Iterator[Any]:
    """The library, with its errors as one of ours."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow uses what SQLAlchemy and others have deprecated
        try:
            import mlflow  # noqa: PLC0415 — takes seconds
            from mlflow.exceptions import MlflowException  # noqa: PLC0415
        except ImportError as error:
            raise UnavailableError(
                f"the registry needs MLflow: {error}", remedy="pip install 'vedette[models]'"
            ) from error
        try:
            yield mlflow
        except (MlflowException, OSError) as error:
            raise UnavailableError(f"the registry: {error}", remedy="check [registry] url") from error


def tags(contract: Contract) -> dict[str, str]:
    """Where a model comes from, for its run."""
    return {
        "data_hash": contract.data_hash,
        "features_hash": contract.features_hash,
        "git_commit": contract.git_commit or "unknown",
        "model_sha256": contract.model_sha256,
        **{f"library.{name}": version for name, version in contract.libraries.items()},
    }


def metrics(contract: Contract) -> dict[str, float]:
    """Figures for MLflow: of the folds' mean if there are folds, and of validation."""
    validation = {
        f"validation_{name}": float(value) for name, value in msgspec.to_builtins(contract.validation).items()
    }
    return validation | (
        {f"test_{name}": value for name, value in mean(contract.folds).items()} if contract.folds else {}
    )
