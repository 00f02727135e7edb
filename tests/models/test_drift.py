import numpy as np
import pytest

from models.drift import drift
from models.folder import LEVELS, Baseline, BaselineDistribution


def baseline(**columns: np.ndarray) -> Baseline:
    """The baseline of columns, with a uniform score."""

    def of(values: np.ndarray) -> BaselineDistribution:
        known = values[~np.isnan(values)]
        return BaselineDistribution(missing=1 - len(known) / len(values), quantiles=np.quantile(known, LEVELS).tolist())

    score = BaselineDistribution(missing=0.0, quantiles=list(LEVELS))
    return Baseline(levels=list(LEVELS), features={name: of(values) for name, values in columns.items()}, score=score)


@pytest.mark.parametrize("kind", ["continuous", "counts", "flag", "constant"])
def test_the_same_distribution_has_not_drifted(kind: str) -> None:
    """A second sample of the same kind of numbers is stable, however many of them are equal."""
    rng = np.random.default_rng(1)
    draw = {
        "continuous": lambda: rng.gamma(2, 30, 20_000),
        "counts": lambda: rng.poisson(1.2, 20_000).astype(float),
        "flag": lambda: (rng.random(20_000) < 0.13).astype(float),
        "constant": lambda: np.full(20_000, 3.0),
    }[kind]
    (_, found) = drift(baseline(x=draw()), ("x",), draw()[:, None], rng.random(20_000))
    assert found.stability == "stable"
    assert found.psi < 0.01
    assert found.ks < 0.02


def test_distances_are_those_of_the_definitions() -> None:
    """A normal sample shifted by half its deviation has the KS distance of theory, and PSI by the deciles."""
    rng = np.random.default_rng(2)
    before, now = rng.normal(0, 1, 100_000), rng.normal(0.5, 1, 100_000)
    (_, found) = drift(baseline(x=before), ("x",), now[:, None], rng.random(100_000))
    assert found.ks == pytest.approx(0.1974, abs=0.01)  # 2 Φ(1/4) - 1
    borders = np.quantile(before, np.linspace(0.1, 0.9, 9))
    share = np.diff(np.searchsorted(np.sort(now), borders, "right") / len(now), prepend=0, append=1)
    assert found.psi == pytest.approx(((share - 0.1) * np.log(share / 0.1)).sum(), rel=0.02)


def test_missing_values_that_begin_are_drift() -> None:
    """A feature that was always known and is missing half the time has drifted, and precedes one that has not."""
    rng = np.random.default_rng(3)
    x, y = rng.random(5_000), rng.random(5_000)
    gone = np.where(rng.random(5_000) < 0.5, np.nan, x)
    score, first, second = drift(baseline(x=x, y=y), ("y", "x"), np.column_stack([y, gone]), rng.random(5_000))
    assert (score.name, first.name, second.name) == ("score", "x", "y")
    assert (first.stability, second.stability) == ("moved", "stable")
    assert (first.missing_before, first.missing) == (0.0, pytest.approx(0.5, abs=0.03))
