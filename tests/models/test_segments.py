import dataclasses

import numpy as np
import pytest

from models.frame import Frame
from models.metrics import threshold_at_fpr
from models.segments import pooled, segments
from models.train import TrainedModel


@pytest.fixture
def grouped(history: Frame) -> Frame:
    """The history with a channel for every payment."""
    channel = np.where(np.arange(len(history)) % 3 == 0, "ecom", "pos")
    return dataclasses.replace(history, groups={"channel": channel})


def test_parts_add_up_to_all(grouped: Frame, model: TrainedModel) -> None:
    """Payments, frauds, flagged, caught and missed money of the parts of each kind sum to those of all payments."""
    score = model.predict(grouped.matrix)
    found = segments(grouped, score, threshold_at_fpr(score, grouped.fraud))
    whole = found[0]
    assert (whole.by, whole.rows, whole.frauds) == ("all", len(grouped), int(grouped.fraud.sum()))
    assert whole.false_positive_rate == pytest.approx(0.01, abs=0.001)
    for by in ("amount", "channel"):
        parts = [part for part in found if part.by == by]
        assert len(parts) > 1
        for name in ("rows", "frauds", "flagged", "caught", "missed"):
            assert sum(getattr(part, name) for part in parts) == getattr(whole, name), name


def test_pooled_folds_are_the_rows_of_both(grouped: Frame, model: TrainedModel) -> None:
    """The counts of two halves pooled are the counts of the whole, part by part."""
    score = model.predict(grouped.matrix)
    half = len(grouped) // 2
    halves = [segments(grouped.take(rows), score[rows], 0.5) for rows in (slice(half), slice(half, None))]
    together = {(part.by, part.value): part for part in pooled(halves)}
    for part in segments(grouped, score, 0.5):
        same = together[part.by, part.value]
        assert (same.rows, same.frauds, same.caught) == (part.rows, part.frauds, part.caught)
        assert same.expected == pytest.approx(part.expected)


def test_bands_hold_what_they_say(grouped: Frame, model: TrainedModel) -> None:
    """Every payment of the band `50 to 200` is at least 50 and less than 200, and small groups are pooled."""
    amount = grouped.matrix[:, grouped.names.index("amount_major")]
    band = [part for part in segments(grouped, model.predict(grouped.matrix), 0.5) if part.value == "50 to 200"]
    assert band[0].rows == int(((amount >= 50) & (amount < 200)).sum())
    many = dataclasses.replace(grouped, groups={"country": (np.arange(len(grouped)) % 40).astype(np.str_)})
    countries = [part for part in segments(many, np.zeros(len(many)), 0.5) if part.by == "country"]
    assert len(countries) == 13
    assert (countries[-1].value, countries[-1].rows) == ("other", 28 * 300)
