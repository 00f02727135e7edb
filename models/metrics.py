"""How good a score is: ranking, what investigators get to see, calibration, money."""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from models.frame import Frame
from vedette.clock import DAY
from vedette.errors import InputError

Floats = NDArray[np.float64]

FALSE_POSITIVE_RATE = 0.01
"""Where recall is quoted: one honest payment in a hundred is stopped."""


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one set of rows.

    Attributes:
        rows: Number of transactions.
        frauds: Number of frauds among them.
        auc: Area under the ROC curve, over transactions.
        average_precision: Area under the precision-recall curve (step-wise), over transactions.
        card_precision_100: Share of defrauded cards among each day's hundred highest, mean over days.
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
    threshold: float
    precision: float
    recall: float
    recall_at_fpr: float
    calibration_error: float
    cost: int
    cost_without: int


def measure(frame: Frame, score: Floats, *, threshold: float, contact_cost: int) -> Metrics:
    """All figures of calibrated probabilities `score` on the rows of `frame`.

    Args:
        frame: The rows, with the truth.
        score: float64 [n], probability of fraud.
        threshold: Chosen before on other rows.
        contact_cost: Minor units that one false alarm costs.

    Raises:
        InputError: The rows hold no fraud, or nothing else.
    """
    frauds = int(frame.fraud.sum())
    if frauds in (0, len(frame)):
        raise InputError(
            f"{frauds} of {len(frame)} transactions are frauds, so nothing can be measured",
            remedy="use a longer span of time",
        )
    flagged = score >= threshold
    caught = int((flagged & frame.fraud).sum())
    return Metrics(
        rows=len(frame),
        frauds=frauds,
        auc=float(roc_auc_score(frame.fraud, score)),
        average_precision=float(average_precision_score(frame.fraud, score)),
        card_precision_100=card_precision(score, frame.fraud, frame.account, frame.event_time // DAY),
        threshold=threshold,
        precision=caught / max(int(flagged.sum()), 1),
        recall=caught / frauds,
        recall_at_fpr=float((score[frame.fraud] >= threshold_at_fpr(score, frame.fraud)).mean()),
        calibration_error=calibration_error(score, frame.fraud),
        cost=expected_cost(flagged, frame.fraud, frame.amount, contact_cost),
        cost_without=int(frame.amount[frame.fraud].sum()),
    )


def card_precision(
    score: Floats, fraud: NDArray[np.bool_], account: NDArray[np.int64], day: NDArray[np.int64], top: int = 100
) -> float:
    """The mean over the days of `card_precision_by_day`."""
    return float(card_precision_by_day(score, fraud, account, day, top).mean())


def card_precision_by_day(
    score: Floats, fraud: NDArray[np.bool_], account: NDArray[np.int64], day: NDArray[np.int64], top: int = 100
) -> Floats:
    """Card precision at `top`: what a team that can look at `top` cards a day gets to see.

    Per day a card counts with its highest score, and is defrauded if one of its transactions is. A defrauded card
    once seen on an earlier day is out. The share is of `top` even on days with fewer cards. Source: handbook, 4.4.

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
    """The lowest threshold that flags at most this share of the honest transactions."""
    honest = np.sort(score[~fraud])[::-1]
    allowed = math.floor(rate * len(honest))
    return float(np.nextafter(honest[allowed], np.inf)) if allowed < len(honest) else 0.0


def threshold_at_lowest_cost(
    score: Floats, fraud: NDArray[np.bool_], amount: NDArray[np.int64], contact_cost: int
) -> float:
    """The threshold with the lowest expected cost; 1 if flagging nothing is cheapest."""
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
    """Minor units lost: the amount of every missed fraud, and a fixed contact for every false alarm."""
    return int(amount[fraud & ~flagged].sum()) + contact_cost * int((flagged & ~fraud).sum())


def calibration_error(score: Floats, fraud: NDArray[np.bool_], bins: int = 20) -> float:
    """Expected calibration error: mean distance of probability and frequency over bins with equally many rows."""
    order = np.argsort(score, kind="stable")
    distance = sum(abs(float(score[part].sum()) - int(fraud[part].sum())) for part in np.array_split(order, bins))
    return distance / len(score)
