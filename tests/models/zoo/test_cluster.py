from collections.abc import Iterator

import numpy as np
import pytest
from distributed import LocalCluster
from sklearn.metrics import roc_auc_score

from models.frame import Frame
from models.train import TrainingConfig, boost
from models.zoo import cluster
from vedette.errors import UnavailableError


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A cluster of two workers in processes of their own."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        yield local.scheduler_address


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_two_workers_train_a_booster_as_good_as_one_machine(
    history: Frame, scheduler: str, library: cluster.Library
) -> None:
    """Half of the rows on each, the trees know all of them: later frauds rank as with local training."""
    teach, judge = slice(0, 8_000), slice(8_000, None)
    config = TrainingConfig(trees=30, least_rows_in_leaf=20)
    parameters = config.parameters() if library == "lightgbm" else {"objective": "binary:logistic", "base_score": 0.5}
    booster = cluster.train(
        library,
        history.matrix[teach],
        history.fraud[teach],
        parameters,
        names=history.names,
        rounds=30,
        scheduler=scheduler,
    )
    local = boost(history.matrix[teach], history.fraud[teach], config).predict(history.matrix[judge])
    if library == "lightgbm":
        assert booster.feature_name() == list(history.names)
        score = booster.predict(history.matrix[judge])
    else:
        score = booster.inplace_predict(history.matrix[judge])
    truth = history.fraud[judge]
    assert roc_auc_score(truth, score) > roc_auc_score(truth, local) - 0.03


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    """Nothing listens there."""
    with pytest.raises(UnavailableError, match=r"tcp://127\.0\.0\.1:9"):
        cluster.train(
            "xgboost",
            np.zeros((2, 1)),
            np.zeros(2, np.bool_),
            {},
            names=("a",),
            rounds=1,
            scheduler="tcp://127.0.0.1:9",
        )
