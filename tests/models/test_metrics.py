import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.evaluate import FoldResult, is_telling, mean
from models.frame import Frame
from models.metrics import (
    calibration_error,
    card_precision,
    expected_cost,
    measure,
    threshold_at_fpr,
    threshold_at_lowest_cost,
)
from vedette.clock import DAY
from vedette.errors import InputError

SCORE = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
FRAUD = np.array([True, False, True, False, False, False])
AMOUNT = np.array([100, 50, 1_000, 20, 20, 20])


def frame(fraud: np.ndarray) -> Frame:
    """Six payments of one day by six accounts."""
    rows = len(fraud)
    return Frame(
        names=(),
        matrix=np.empty((rows, 0)),
        account=np.arange(rows),
        event_time=np.zeros(rows, dtype=np.int64),
        amount=AMOUNT,
        fraud=fraud,
        labelled_at=np.full(rows, 7 * DAY),
    )


def test_every_figure_of_a_hand_computed_case() -> None:
    """AUC counts pairs, average precision averages at the frauds, cost adds missed amounts and false alarms."""
    result = measure(frame(FRAUD), SCORE, threshold=0.75, contact_cost=30)
    assert (result.rows, result.frauds) == (6, 2)
    assert result.auc == pytest.approx((4 + 3) / 8)
    assert result.average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert result.card_precision_100 == pytest.approx(2 / 100)
    assert result.best_card_precision_100 == pytest.approx(2 / 100)
    assert result.precision == pytest.approx(1 / 2)
    assert result.recall == pytest.approx(1 / 2)
    assert result.recall_at_fpr == pytest.approx(1 / 2)
    assert result.cost == 1_000 + 30
    assert result.cost_without == 1_100


@pytest.mark.parametrize("fraud", [np.zeros(6, dtype=bool), np.ones(6, dtype=bool)])
def test_rows_of_one_kind_cannot_be_measured(fraud: np.ndarray) -> None:
    """Without frauds, or without anything else, there is an error and no invented figure."""
    with pytest.raises(InputError, match="nothing can be measured"):
        measure(frame(fraud), SCORE, threshold=0.5, contact_cost=1)


def test_card_precision_takes_the_highest_score_and_drops_detected_cards() -> None:
    """A card ranks by its highest score, and once seen as defrauded it leaves the later days."""
    # Day 0: cards 1 (.9, its fraud scores .1), 2 (.8, honest), 3 (.3, fraud); the top two hold one defrauded card.
    # Day 1: card 1 is known; of 2 (.7, honest), 3 (.6, honest), 4 (.5, fraud) the top two hold none.
    score = np.array([0.9, 0.1, 0.8, 0.3, 1.0, 0.7, 0.6, 0.5])
    fraud = np.array([False, True, False, True, True, False, False, True])
    card = np.array([1, 1, 2, 3, 1, 2, 3, 4])
    day = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert card_precision(score, fraud, card, day, top=2) == pytest.approx((1 / 2 + 0) / 2)


def test_card_precision_divides_by_top_even_with_fewer_cards() -> None:
    """Three cards, all defrauded, are three of a hundred."""
    three = np.arange(3)
    assert card_precision(three / 3, np.ones(3, dtype=bool), three, np.zeros(3, dtype=np.int64)) == 0.03


def test_threshold_at_fpr_flags_no_more_than_allowed() -> None:
    """With four honest payments and a quarter allowed, exactly the highest honest one is flagged."""
    threshold = threshold_at_fpr(SCORE, FRAUD, rate=0.25)
    assert (SCORE[~FRAUD] >= threshold).sum() == 1
    assert (SCORE[FRAUD] >= threshold).sum() == 2


def test_lowest_cost_of_a_hand_computed_case() -> None:
    """Flagging three costs one contact and saves both frauds; flagging more only adds contacts."""
    assert threshold_at_lowest_cost(SCORE, FRAUD, AMOUNT, contact_cost=30) == 0.7


def test_lowest_cost_flags_nothing_if_contacts_cost_more_than_frauds() -> None:
    """Where the first ranks are honest and contacts are expensive, flagging nothing is cheapest."""
    assert threshold_at_lowest_cost(-SCORE, FRAUD, AMOUNT, contact_cost=10_000) == 1.0


@given(data=st.data(), contact=st.integers(0, 200))
def test_no_threshold_is_cheaper_than_the_chosen_one(data: st.DataObject, contact: int) -> None:
    """Brute force over all scores, ties included, finds nothing cheaper."""
    rows = data.draw(st.integers(1, 12))
    score = data.draw(arrays(np.float64, rows, elements=st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5])))
    fraud = data.draw(arrays(np.bool_, rows))
    amount = data.draw(arrays(np.int64, rows, elements=st.integers(0, 300)))

    def cost(threshold: float) -> int:
        return expected_cost(score >= threshold, fraud, amount, contact)

    chosen = threshold_at_lowest_cost(score, fraud, amount, contact)
    assert cost(chosen) == min(cost(threshold) for threshold in [*score, 1.0])


def test_calibration_error_is_the_distance_of_probability_and_frequency() -> None:
    """Two bins, one right on average and one wrong by a half, are wrong by a quarter."""
    score = np.array([0.5, 0.5, 1.0, 1.0])
    fraud = np.array([True, False, True, False])
    assert calibration_error(score, fraud, bins=2) == pytest.approx(0.25)


def test_a_perfect_ranking_reaches_the_best_card_precision(history: Frame) -> None:
    """No score does better than the truth itself, and few days have a hundred defrauded cards."""
    truth = measure(history, history.fraud.astype(np.float64), threshold=0.5, contact_cost=1)
    chance = measure(history, np.random.default_rng(0).random(len(history)), threshold=0.5, contact_cost=1)
    assert truth.card_precision_100 == truth.best_card_precision_100 == chance.best_card_precision_100
    assert chance.card_precision_100 < chance.best_card_precision_100 < 1


def test_a_test_with_few_frauds_is_not_part_of_the_mean(history: Frame) -> None:
    """Seven frauds prove nothing; if all tests are like that, their mean is used."""
    many = measure(history, history.fraud * 0.5, threshold=0.4, contact_cost=1)
    few = msgspec.structs.replace(many, frauds=7, auc=0.0)
    folds = [FoldResult(training_start=0, test_start=0, training_rows=1, test=test) for test in (many, few)]
    assert [is_telling(fold) for fold in folds] == [True, False]
    assert mean(folds)["auc"] == many.auc
    assert mean(folds[1:])["auc"] == 0.0
