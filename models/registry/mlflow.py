"""MLflow without telemetry, progress bars and log messages, and the record of a model in a run."""

import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.extras import needs_extra
from vedette.errors import UnavailableError

if TYPE_CHECKING:
    from models.folder import Contract


@contextmanager
def library() -> Iterator[Any]:
    """Yield the library, and turn its errors into UnavailableError."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow uses deprecated parts of SQLAlchemy and others
        with needs_extra("models", "the registry"):
            import mlflow  # noqa: PLC0415 - takes seconds
            from mlflow.exceptions import MlflowException  # noqa: PLC0415
        try:
            yield mlflow
        except (MlflowException, OSError) as error:
            raise UnavailableError(f"the registry: {error}", remedy="check [registry] url") from error


def tags(contract: "Contract") -> dict[str, str]:
    """Return the provenance of a model, as tags of its run."""
    return {
        "data_hash": contract.data_hash,
        "features_hash": contract.features_hash,
        "git_commit": contract.git_commit or "unknown",
        "model_sha256": contract.model_sha256,
        **{f"library.{name}": version for name, version in contract.libraries.items()},
    }


def metrics(contract: "Contract") -> dict[str, float]:
    """Return the metrics of a run: those of validation and, if there are folds, their mean.

    A metric that the folder does not have, as folders of older versions do not, is left out.
    """
    from models.evaluate import mean  # noqa: PLC0415 - brings scikit-learn, which takes seconds

    validation = msgspec.to_builtins(contract.validation)
    found = {f"validation_{name}": float(value) for name, value in validation.items() if value is not None}
    tests = mean(contract.folds).items() if contract.folds else ()
    return found | {f"test_{name}": value for name, value in tests if not math.isnan(value)}
