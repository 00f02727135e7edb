"""Metrics of a score: ranking, card precision, calibration and cost."""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.frame import Frame
from vedette.clock import DAY
from vedette.errors import InputError

Floats = NDArray[np.float64]

FALSE_POSITIVE_RATE = 0.01
"""False-positive rate at which recall is quoted: one honest payment in a hundred is flagged."""

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


class ScoreMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one set of rows.

    Attributes:
        rows: Number of transactions.
        frauds: Number of frauds among them.
        auc: Area under the ROC curve, over transactions.
        average_precision: Area under the precision-recall curve (step-wise), over transactions.
        card_precision_100: Share of defrauded cards among each day's hundred highest, mean over days.
        best_card_precision_100: Card precision of a perfect ranking, as few days have a hundred defrauded cards; None
            in folders that were written before it was measured.
        threshold: A score of at least this counts as flagged.
        precision: Share of frauds among the flagged; 0 if none is flagged.
        recall: Share of frauds that are flagged.
        recall_at_fpr: Share of frauds found while 1 % of the honest payments are flagged.
        calibration_error: Expected calibration error over 20 bins with equally many rows.
        cost: Minor units lost at the threshold: amounts of missed frauds and a contact per false alarm.
        cost_without: Minor units lost if nothing is flagged: the amounts of all frauds.
    """

    rows: int
    frauds: int
    auc: float
    average_precision: float
    card_precision_100: float
    best_card_precision_100: float | None = None
    threshold: float
    precision: float
    recall: float
    recall_at_fpr: float
    calibration_error: float
    cost: int
    cost_without: int


def measure(frame: Frame, score: Floats, *, threshold: float, contact_cost: int) -> ScoreMetrics:
    """Return all metrics of calibrated probabilities `score` on the rows of `frame`.

    Args:
        frame: The rows, with their labels.
        score: float64 [n], probability of fraud.
        threshold: Threshold chosen beforehand on other rows.
        contact_cost: Minor units that one false alarm costs.

    Raises:
        InputError: The rows are all honest, or all fraud.
    """
    frauds = int(frame.fraud.sum())
    if frauds in (0, len(frame)):
        raise InputError(
            f"{frauds} of {len(frame)} transactions are frauds, so nothing can be measured",
            remedy="use a longer span of time",
        )
    from sklearn.metrics import average_precision_score, roc_auc_score

    flagged = score >= threshold
    caught = int((flagged & frame.fraud).sum())
    return ScoreMetrics(
        rows=len(frame),
        frauds=frauds,
        auc=float(roc_auc_score(frame.fraud, score)),
        average_precision=float(average_precision_score(frame.fraud, score)),
        card_precision_100=card_precision(score, frame.fraud, frame.account, frame.event_time // DAY),
        best_card_precision_100=card_precision(
            frame.fraud.astype(np.float64), frame.fraud, frame.account, frame.event_time // DAY
        ),
        threshold=threshold,
        precision=caught / max(int(flagged.sum()), 1),
        recall=caught / frauds,
        recall_at_fpr=float((score[frame.fraud] >= threshold_at_fpr(score, frame.fraud)).mean()),
        calibration_error=calibration_error(score, frame.fraud),
        cost=expected_cost(flagged, frame.fraud, frame.amount, contact_cost),
        cost_without=int(frame.amount[frame.fraud].sum()),
    )


def wilson(rate: float, number: float) -> tuple[float, float, float]:
    """Return a rate observed on `number` independent observations, with the ends of its 95 % interval.

    The interval stays within 0 to 1 and has a width even at rates of 0 and 1. Source: Wilson 1927.
    """
    spread = Z_95 * Z_95 / number
    centre = (rate + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * math.sqrt(rate * (1 - rate) / number + spread / (4 * number))
    # At 0 and 1 the interval ends exactly there; rounding may miss it by a bit.
    return rate, 0.0 if rate == 0 else max(centre - half, 0.0), 1.0 if rate == 1 else min(centre + half, 1.0)


def card_precision(
    score: Floats, fraud: NDArray[np.bool_], account: NDArray[np.int64], day: NDArray[np.int64], top: int = 100
) -> float:
    """Return the mean over the days of `card_precision_by_day`."""
    return float(card_precision_by_day(score, fraud, account, day, top).mean())


def card_precision_by_day(
    score: Floats, fraud: NDArray[np.bool_], account: NDArray[np.int64], day: NDArray[np.int64], top: int = 100
) -> Floats:
    """Return the card precision at `top`, for a team that can investigate `top` cards a day.

    Each day a card has the highest of its scores, and is defrauded if one of its transactions is. A defrauded card
    found on an earlier day is excluded. The denominator is `top` even on days with fewer cards. Source: handbook, 4.4.

    Returns:
        The share of defrauded cards of each day, float64 [days].
    """
    seen = np.empty(0, dtype=np.int64)
    shares: list[float] = []
    for today in np.unique(day):
        rows = np.flatnonzero(day == today)
        rows = rows[~np.isin(account[rows], seen)]
        cards, card = np.unique(account[rows], return_inverse=True)
        highest = np.full(len(cards), -np.inf)
        np.maximum.at(highest, card, score[rows])
        defrauded = np.zeros(len(cards), dtype=np.bool_)
        np.logical_or.at(defrauded, card, fraud[rows])
        chosen = np.argsort(-highest, kind="stable")[:top]
        found = cards[chosen][defrauded[chosen]]
        seen = np.union1d(seen, found)
        shares.append(len(found) / top)
    return np.array(shares)


def threshold_at_fpr(score: Floats, fraud: NDArray[np.bool_], rate: float = FALSE_POSITIVE_RATE) -> float:
    """Return the lowest threshold that flags at most this share of the honest transactions."""
    honest = np.sort(score[~fraud])[::-1]
    allowed = math.floor(rate * len(honest))
    return float(np.nextafter(honest[allowed], np.inf)) if allowed < len(honest) else 0.0


def threshold_at_lowest_cost(
    score: Floats, fraud: NDArray[np.bool_], amount: NDArray[np.int64], contact_cost: int
) -> float:
    """Return the threshold with the lowest expected cost; 1 if flagging nothing is cheapest."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    saved = np.cumsum(np.where(fraud[order], amount[order], -contact_cost))
    # Rows of equal score are flagged together, so only the last of them can be the cut.
    cuts = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    best = cuts[np.argmax(saved[cuts])]
    return float(ranked[best]) if saved[best] > 0 else 1.0


def expected_cost(
    flagged: NDArray[np.bool_], fraud: NDArray[np.bool_], amount: NDArray[np.int64], contact_cost: int
) -> int:
    """Return the minor units lost: the amount of every missed fraud, and a fixed cost for every false alarm."""
    return int(amount[fraud & ~flagged].sum()) + contact_cost * int((flagged & ~fraud).sum())


def calibration_error(score: Floats, fraud: NDArray[np.bool_], bins: int = 20) -> float:
    """Return the expected calibration error: mean distance of probability and frequency over bins of equal size."""
    order = np.argsort(score, kind="stable")
    distance = sum(abs(float(score[part].sum()) - int(fraud[part].sum())) for part in np.array_split(order, bins))
    return distance / len(score)
