"""A trial on live payments: the decisions of champion and challenger, and both on the same payments."""

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from models.bootstrap import average_precision_gains
from streams.history.estimates import Estimate, difference, rate
from streams.history.feature_log import FeatureLog
from vedette.clock import DAY
from vedette.control import Models
from vedette.errors import InputError
from vedette.events import Label

_DRAWS = 500
"""Bootstrap samples of accounts."""

MIN_DEFRAUDED_ACCOUNTS = 10
"""Minimum number of accounts with a fraud for a bootstrap interval; with fewer, resampling is meaningless."""


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """The payments that one of the two models decided.

    Attributes:
        model: Version.
        accounts: Accounts it decided for.
        payments: Payments it decided.
        alert_rate: Share of payments that were flagged.
        mature: Payments whose label has had time to arrive.
        frauds: Frauds among the mature payments.
        recall: Share of those frauds that were flagged; None without fraud.
        missed: Amount of the frauds that were not flagged, minor units per thousand mature payments.
    """

    model: str
    accounts: int
    payments: int
    alert_rate: Estimate
    mature: int
    frauds: int
    recall: Estimate | None
    missed: Estimate | None


class SamePayments(msgspec.Struct, frozen=True, kw_only=True):
    """Both models on the same payments, whichever decided.

    Attributes:
        payments: Payments scored by both.
        agreement: Share of payments for which both would take the same action.
        champion_alert_rate: Share that the champion flags or would flag.
        challenger_alert_rate: Share that the challenger flags or would flag.
        average_precision: Challenger's minus champion's, on mature payments; None without fraud.
    """

    payments: int
    agreement: float
    champion_alert_rate: float
    challenger_alert_rate: float
    average_precision: Estimate | None


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a trial by the guardrail: when (milliseconds UTC), and why."""

    at: int
    reason: str


class TrialReport(msgspec.Struct, frozen=True, kw_only=True):
    """The current state of a trial.

    Attributes:
        champion: Its arm; None while the challenger decides for all accounts.
        challenger: Its arm; None while it only scores in the shadow.
        versions: Version of the champion and of the challenger.
        alert_rate: Challenger's minus champion's, between the arms.
        recall: Challenger's minus champion's, between the arms.
        same_payments: Both models on the same payments.
        withdrawn: Set if the guardrail has withdrawn this challenger.
    """

    champion: Arm | None
    challenger: Arm | None
    versions: tuple[str, str]
    alert_rate: Estimate | None
    recall: Estimate | None
    same_payments: SamePayments
    withdrawn: Withdrawal | None


class _Payments(NamedTuple):
    """Columns of payments in the same order."""

    account: NDArray[np.int64]
    flagged: NDArray[np.bool_]
    fraud: NDArray[np.bool_]
    amount: NDArray[np.int64]
    mature: NDArray[np.bool_]

    def take(self, rows: NDArray[np.bool_]) -> "_Payments":
        return _Payments(self.account[rows], self.flagged[rows], self.fraud[rows], self.amount[rows], self.mature[rows])


def report(
    log: FeatureLog, labels: dict[str, Label], delay_days: int, *, control: Models | None = None, seed: int = 0
) -> TrialReport:
    """Report on the latest trial in a feature log.

    Args:
        log: Payments of the feature log.
        labels: Labels by transaction.
        delay_days: Days that a label takes to arrive; younger payments are not used for recall.
        control: The models in force by the control topic, which record a withdrawal; None if unknown.
        seed: Seed of the bootstrap.

    Raises:
        InputError: No payment of the log was scored by two models.
    """
    role, model, other = (log.column(name).astype(str) for name in ("role", "model", "shadow_model"))
    tried = np.flatnonzero(other != "")
    if not len(tried):
        raise InputError("no payment was scored by two models", remedy="`vedette models trial start` starts a trial")
    champion, challenger = np.where(role == "champion", model, other), np.where(role == "champion", other, model)
    latest = tried[-1]
    rows = tried[(champion[tried] == champion[latest]) & (challenger[tried] == challenger[latest])]
    part = log.take(rows)
    frame = part.frame(labels, delay_days)
    mature = frame.event_time + delay_days * DAY <= log.column("event_time").max()
    by_challenger = role[rows] == "challenger"
    action, shadow = part.column("action").astype(np.int64), part.column("shadow_action").astype(np.int64)
    rng = np.random.default_rng(seed)
    payments = _Payments(frame.account, action > 0, frame.fraud & mature, frame.amount, mature)
    arms = [
        _arm(str(version), payments.take(decided), rng) if decided.any() else None
        for version, decided in ((champion[latest], ~by_challenger), (challenger[latest], by_challenger))
    ]
    first, second = arms
    score, other_score = part.column("score").astype(np.float64), part.column("shadow_score").astype(np.float64)
    old, new = np.where(by_challenger, other_score, score), np.where(by_challenger, score, other_score)
    return TrialReport(
        champion=first,
        challenger=second,
        versions=(str(champion[latest]), str(challenger[latest])),
        alert_rate=difference(second.alert_rate, first.alert_rate) if first and second else None,
        recall=difference(second.recall, first.recall) if first and second else None,
        same_payments=SamePayments(
            payments=len(rows),
            agreement=float((action == shadow).mean()),
            champion_alert_rate=float((np.where(by_challenger, shadow, action) > 0).mean()),
            challenger_alert_rate=float((np.where(by_challenger, action, shadow) > 0).mean()),
            average_precision=_gain(frame.account[mature], frame.fraud[mature], old[mature], new[mature], rng),
        ),
        withdrawn=_withdrawal(control, str(challenger[latest])),
    )


def _withdrawal(control: Models | None, challenger: str) -> Withdrawal | None:
    if control is None or str(control.withdrawn) != challenger:
        return None
    return Withdrawal(at=control.at, reason=control.reason)


def _arm(model: str, payments: _Payments, rng: np.random.Generator) -> Arm:
    accounts, inverse = np.unique(payments.account, return_inverse=True)

    def by_account(weights: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.bincount(inverse, weights.astype(np.float64), len(accounts)).astype(np.float64)

    fraud, flagged = payments.fraud, payments.flagged
    frauds = by_account(fraud)
    return Arm(
        model=model,
        accounts=len(accounts),
        payments=len(inverse),
        alert_rate=rate(by_account(flagged), np.bincount(inverse).astype(np.float64)),
        mature=int(payments.mature.sum()),
        frauds=int(frauds.sum()),
        recall=rate(by_account(fraud & flagged), frauds) if frauds.any() else None,
        missed=_per_thousand(
            by_account(payments.amount * (fraud & ~flagged)), by_account(payments.mature), frauds, rng
        ),
    )


def _per_thousand(
    money: NDArray[np.float64], payments: NDArray[np.float64], frauds: NDArray[np.float64], rng: np.random.Generator
) -> Estimate | None:
    """Return money per thousand payments, with an interval from drawing whole accounts.

    None without payments.
    """
    if not payments.any():
        return None
    value = 1000 * float(money.sum() / payments.sum())
    if (frauds > 0).sum() < MIN_DEFRAUDED_ACCOUNTS:
        return Estimate(value=value, low=None, high=None)
    draws = (rng.integers(len(money), size=len(money)) for _ in range(_DRAWS))
    ratios = [1000 * float(money[drawn].sum() / max(payments[drawn].sum(), 1)) for drawn in draws]
    return _interval(value, np.array(ratios))


def _gain(
    account: NDArray[np.int64],
    fraud: NDArray[np.bool_],
    old: NDArray[np.float64],
    new: NDArray[np.float64],
    rng: np.random.Generator,
) -> Estimate | None:
    """Return what the new score gains in average precision, with an interval from drawing whole accounts.

    None without fraud.
    """
    if not fraud.any():
        return None
    value = float(average_precision_score(fraud, new) - average_precision_score(fraud, old))
    if len(np.unique(account[fraud])) < MIN_DEFRAUDED_ACCOUNTS:
        return Estimate(value=value, low=None, high=None)
    return _interval(value, average_precision_gains(fraud, old, new, account, draws=_DRAWS, rng=rng))


def _interval(value: float, drawn: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return Estimate(value=value, low=low, high=high)
