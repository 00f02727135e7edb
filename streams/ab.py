"""Champion and challenger on live payments: the accounts that each decided for, and both on the very same payments.

An account's payments are not independent, so intervals come from drawing whole accounts (bootstrap, 95 %).
"""

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from streams.featurelog import FeatureLog
from vedette.clock import DAY
from vedette.errors import InputError
from vedette.events import Label

_DRAWS = 500


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """What one of the two decided.

    Attributes:
        model: Version.
        accounts: For how many accounts it decided.
        payments: How many payments.
        alert_rate: Share of payments that were flagged.
        mature: Payments whose label had time to arrive.
        frauds: Among those.
        recall: Share of those frauds that were flagged; None without fraud.
        missed: Amount of the frauds that were not, minor units a thousand payments.
    """

    model: str
    accounts: int
    payments: int
    alert_rate: Estimate
    mature: int
    frauds: int
    recall: Estimate | None
    missed: Estimate | None


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """Both on the same payments, whoever decided.

    Attributes:
        payments: Scored by both.
        agreement: Share of payments for which both would take the same action.
        champion_alert_rate: Share that the champion flags or would flag.
        challenger_alert_rate: Likewise the challenger.
        average_precision: Challenger's less champion's, on payments whose label had time to arrive; None without fraud.
    """

    payments: int
    agreement: float
    champion_alert_rate: float
    challenger_alert_rate: float
    average_precision: Estimate | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A challenge as it stands.

    Attributes:
        champion: Its arm.
        challenger: Its arm; None while it only scores in the shadow.
        alert_rate: Challenger's less champion's, between the arms.
        recall: Likewise.
        paired: Both on the same payments.
    """

    champion: Arm
    challenger: Arm | None
    alert_rate: Estimate | None
    recall: Estimate | None
    paired: Paired


class _Drawn(NamedTuple):
    """An arm with its figures in every draw."""

    arm: Arm
    alert_rate: NDArray[np.float64]
    recall: NDArray[np.float64] | None


def report(log: FeatureLog, labels: dict[str, Label], delay_days: int, seed: int = 0) -> Report:
    """The latest challenge in a feature log.

    Args:
        log: Payments since some moment.
        labels: By transaction.
        delay_days: What a label takes to arrive; younger payments say nothing about recall.
        seed: Of the draws.

    Raises:
        InputError: No payment of the log was scored by two models.
    """
    role, model, other = (log.column(name).astype(str) for name in ("role", "model", "shadow_model"))
    tried = np.flatnonzero(other != "")
    if not len(tried):
        raise InputError("no payment was scored by two models", remedy="`vedette models challenge` starts a challenge")
    champion, challenger = np.where(role == "champion", model, other), np.where(role == "champion", other, model)
    latest = tried[-1]
    rows = tried[(champion[tried] == champion[latest]) & (challenger[tried] == challenger[latest])]
    part = log.take(rows)
    frame = part.frame(labels, delay_days)
    mature = frame.event_time + delay_days * DAY <= log.column("event_time").max()
    by_challenger = role[rows] == "challenger"
    action, shadow = part.column("action").astype(np.int64), part.column("shadow_action").astype(np.int64)
    rng = np.random.default_rng(seed)
    arms = [
        _arm(str(name), frame.account[mine], action[mine] > 0, frame.fraud[mine], frame.amount[mine], mature[mine], rng)
        for name, mine in ((champion[latest], ~by_challenger), (challenger[latest], by_challenger))
        if mine.any()
    ]
    first, second = arms[0], arms[1] if len(arms) > 1 else None
    score, other_score = part.column("score").astype(np.float64), part.column("shadow_score").astype(np.float64)
    old, new = np.where(by_challenger, other_score, score), np.where(by_challenger, score, other_score)
    return Report(
        champion=first.arm,
        challenger=second.arm if second else None,
        alert_rate=_difference(second.alert_rate, first.alert_rate) if second else None,
        recall=_difference(second.recall, first.recall) if second else None,
        paired=Paired(
            payments=len(rows),
            agreement=float((action == shadow).mean()),
            champion_alert_rate=float((np.where(by_challenger, shadow, action) > 0).mean()),
            challenger_alert_rate=float((np.where(by_challenger, action, shadow) > 0).mean()),
            average_precision=_precision(frame.account[mature], frame.fraud[mature], old[mature], new[mature], rng),
        ),
    )


def _arm(
    model: str,
    account: NDArray[np.int64],
    flagged: NDArray[np.bool_],
    fraud: NDArray[np.bool_],
    amount: NDArray[np.int64],
    mature: NDArray[np.bool_],
    rng: np.random.Generator,
) -> _Drawn:
    accounts, of = np.unique(account, return_inverse=True)
    fraud = fraud & mature
    sums = np.column_stack(
        [
            np.bincount(of, weights)
            for weights in (np.ones(len(of)), flagged, mature, fraud, fraud & flagged, amount * (fraud & ~flagged))
        ]
    )
    drawn = np.stack([sums[rng.integers(len(accounts), size=len(accounts))].sum(axis=0) for _ in range(_DRAWS)])
    payments, alerts, old, frauds, caught, missed = sums.sum(axis=0).tolist()
    rates = drawn[:, 1] / drawn[:, 0]
    recall = drawn[:, 4] / np.maximum(drawn[:, 3], 1) if frauds else None
    return _Drawn(
        Arm(
            model=model,
            accounts=len(accounts),
            payments=int(payments),
            alert_rate=_estimate(alerts / payments, rates),
            mature=int(old),
            frauds=int(frauds),
            recall=None if recall is None else _estimate(caught / frauds, recall),
            missed=_estimate(1000 * missed / old, 1000 * drawn[:, 5] / np.maximum(drawn[:, 2], 1)) if old else None,
        ),
        rates,
        recall,
    )


def _precision(
    account: NDArray[np.int64],
    fraud: NDArray[np.bool_],
    old: NDArray[np.float64],
    new: NDArray[np.float64],
    rng: np.random.Generator,
) -> Estimate | None:
    if not fraud.any():
        return None
    _, of = np.unique(account, return_inverse=True)
    number = int(of.max()) + 1
    differences: list[float] = []
    for _ in range(_DRAWS // 5):
        times = np.bincount(rng.integers(number, size=number), minlength=number)[of].astype(np.float64)
        if (times * fraud).any():
            gain = average_precision_score(fraud, new, sample_weight=times)
            differences.append(gain - average_precision_score(fraud, old, sample_weight=times))
    value = average_precision_score(fraud, new) - average_precision_score(fraud, old)
    return _estimate(float(value), np.array(differences))


def _difference(new: NDArray[np.float64] | None, old: NDArray[np.float64] | None) -> Estimate | None:
    return None if new is None or old is None else _estimate(float((new - old).mean()), new - old)


def _estimate(value: float, drawn: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist() if len(drawn) else (value, value)
    return Estimate(value=value, low=low, high=high)
