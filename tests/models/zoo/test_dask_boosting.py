from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from features.dask_cluster import scheduler_at
from models import zoo
from models.frame import Frame
from models.zoo import ModelEntry
from models.zoo import dask_boosting as cluster

TEACH, JUDGE = np.arange(8_000), np.arange(8_000, 12_000)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A cluster of two workers in separate processes."""
    with scheduler_at("") as address:
        yield address


@pytest.mark.parametrize(
    "entry",
    [
        ModelEntry(model="lightgbm", parameters={"n_estimators": 30, "boost_from_average": False}),
        ModelEntry(model="xgboost", imbalance="class_weights", parameters={"n_estimators": 30, "base_score": 0.5}),
        ModelEntry(model="xgboost", imbalance="focal", parameters={"n_estimators": 30}),
        ModelEntry(model="vedette", parameters={"trees": 30, "least_rows_in_leaf": 20}),
    ],
    ids=lambda entry: entry.title,
)
def test_two_workers_train_what_is_as_good_as_of_one_machine(history: Frame, scheduler: str, entry: ModelEntry) -> None:
    """With half of the rows on each worker, later frauds rank as with local training."""
    truth = history.fraud[JUDGE]
    area = {
        where: roc_auc_score(truth, zoo.fit(entry, history, TEACH, scheduler=where).score(history, JUDGE))
        for where in ("", scheduler)
    }
    assert area[scheduler] > area[""] - 0.03


def test_a_booster_comes_back_with_its_names(history: Frame, scheduler: str) -> None:
    """It is an ordinary booster of the library, with the column names."""
    booster = cluster.train(
        "lightgbm", history.matrix, history.fraud, {"n_estimators": 5, "verbose": -1},
        names=history.names, scheduler=scheduler,
    )  # fmt: skip
    assert booster.feature_name() == list(history.names)
    assert booster.num_trees() == 5
