from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import models
from features.backfill import backfill
from features.catalogue import NAMES, SETTLED
from models.file_names import SETTLED_MODEL
from models.frame import collect
from models.scorer import load_scorer
from producers.simulation import Simulation
from producers.simulator import simulate

DEMO = Path(models.__file__).parent / "demo"


@pytest.mark.parametrize(("folder", "features"), [(DEMO, NAMES), (SETTLED_MODEL, SETTLED)])
def test_the_models_that_come_with_vedette_fit_and_are_small(folder: Path, features: tuple[str, ...]) -> None:
    """Their features are those of the catalogue in force, with the live ones or without; each stays under 1 MB."""
    scorer = load_scorer(folder)
    assert scorer.names == features
    assert scorer.reads_live == (features == NAMES)
    assert scorer.usual.currency == "EUR"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("folder", [DEMO, SETTLED_MODEL])
def test_they_find_the_frauds_of_a_simulation_they_never_saw(folder: Path) -> None:
    """On another seed, from a cold start, frauds rank high and probabilities add up to about the number of frauds."""
    frame = collect(backfill(simulate(Simulation(customers=5_000, days=20, seed=99))), NAMES)
    score = load_scorer(folder).predict(frame.matrix)
    warm = frame.event_time >= np.quantile(frame.event_time, 0.75)
    assert average_precision_score(frame.fraud[warm], score[warm]) > 0.6
    assert score[warm].sum() == pytest.approx(frame.fraud[warm].sum(), rel=0.5)
