from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import models
from features.backfill import backfill
from features.catalogue import NAMES, SETTLED
from models.frame import collect
from models.scorer import load_scorer
from producers.simulation import Simulation
from producers.simulator import simulate

DEMO = Path(models.__file__).parent / "demo"


def test_the_model_that_comes_with_vedette_fits_and_is_small() -> None:
    """Its features are those of the catalogue in force that are not live, and it stays under 600 kB."""
    scorer = load_scorer(DEMO)
    assert scorer.names == SETTLED
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 600_000


@pytest.mark.slow
def test_it_finds_the_frauds_of_a_simulation_it_never_saw() -> None:
    """On another seed, from a cold start, frauds rank high and probabilities add up to about the number of frauds."""
    frame = collect(backfill(simulate(Simulation(customers=5_000, days=20, seed=99))), NAMES)
    score = load_scorer(DEMO).predict(frame.matrix)
    warm = frame.event_time >= np.quantile(frame.event_time, 0.75)
    assert average_precision_score(frame.fraud[warm], score[warm]) > 0.6
    assert score[warm].sum() == pytest.approx(frame.fraud[warm].sum(), rel=0.5)
