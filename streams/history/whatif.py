"""Decisions that another model or policy would have made: a replay without side effects on state or topics."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from decisions.policy_form import ACTIONS
from decisions.strategy import EVENT_COLUMNS, Strategy
from features.backfill import Backfill
from features.limits import fill_limits
from vedette.clock import DAY, format_time
from vedette.events import EXTRA

_FLAGGED = 1
"""Lowest flagged action: from here on, the fraud team is notified."""

_Rows = NDArray[np.bool_]


@dataclass
class Side:
    """Results of one model and policy."""

    flagged: int = 0
    frauds_flagged: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    """Amount of the frauds not flagged, minor units by currency."""
    alerts: Counter[str] = field(default_factory=Counter)
    """Flagged transactions by UTC day."""


@dataclass
class DecisionComparison:
    """Counts of everything that would change, updated during the replay."""

    transactions: int = 0
    undecided: int = 0
    """Number of transactions without a recorded decision; they are not part of any other figure."""
    frauds: int = 0
    first_time: int | None = None
    last_time: int = 0
    moves: Counter[str] = field(default_factory=Counter)
    """'old → new' action → number of transactions."""
    money: dict[str, Counter[str]] = field(default_factory=dict)
    """'old → new' action → currency → amount in minor units."""
    old: Side = field(default_factory=Side)
    new: Side = field(default_factory=Side)

    @property
    def days(self) -> float:
        """Return the covered event time in days, at least one."""
        return max((self.last_time - (self.first_time or 0)) / DAY, 1.0)

    def summary(self) -> dict[str, object]:
        """Return everything as plain values."""
        return {
            "transactions": self.transactions,
            "undecided": self.undecided,
            "changed": self.moves.total(),
            "moves": self.moves,
            "money": self.money,
            "frauds": self.frauds,
            **{
                name: {
                    "alerts_per_day": round(side.flagged / self.days, 1),
                    "alerts_by_day": side.alerts,
                    "recall": round(side.frauds_flagged / self.frauds, 4) if self.frauds else None,
                    "precision": round(side.frauds_flagged / side.flagged, 4) if side.flagged else None,
                    "fraud_not_flagged": side.lost,
                }
                for name, side in (("old", self.old), ("new", self.new))
            },
        }


def compare(
    batches: Iterable[pa.RecordBatch],
    old: Strategy | None,
    new: Strategy,
    into: DecisionComparison,
    *,
    since: int = 0,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Iterator[pa.RecordBatch]:
    """Replay transactions through the kernel and both strategies.

    Args:
        batches: Batches as for Backfill.advance, in order of event time; those before `since` only build state.
        old: The model and policy to compare with; None for the recorded decisions, the columns RECORDED of
            streams.history.topic_history.
        new: The model and policy to try.
        into: The counts to update.
        since: Event time from which decisions are compared, milliseconds.
        on_progress: Called with the number of transactions processed.

    Yields:
        For each batch, the transactions whose decision changes, with both actions and scores; possibly none.

    Raises:
        InputError: The batches are not in order of event time.
    """
    state = Backfill(label_delay=new.scorer.contract.label_delay_days * DAY)
    taken = 0
    for batch in batches:
        features = state.advance(batch)
        # Refunds and the like are part of the history; what a model or a policy changes are payments.
        compared = state.pays & (batch.column("event_time").to_numpy(zero_copy_only=False) >= since)
        yield _compare(into, batch.filter(pa.array(compared)), features[compared], old, new)
        taken += len(batch)
        on_progress(taken)


def _compare(
    result: DecisionComparison,
    batch: pa.RecordBatch,
    features: NDArray[np.float64],
    old: Strategy | None,
    new: Strategy,
) -> pa.RecordBatch:
    if old is None:
        decided = batch.column("recorded_action").is_valid()
        result.undecided += len(batch) - decided.true_count
        if decided.true_count < len(batch):
            batch, features = batch.filter(decided), features[decided.to_numpy(zero_copy_only=False)]
    events = _events(batch)
    extra = _extra(batch)
    (old_score, old_action), (new_score, new_action) = (
        _recorded(batch) if strategy is None else _evaluated(strategy, events, features, extra)
        for strategy in (old, new)
    )
    if len(batch):
        _count(result, batch, events, old_action, new_action)
    rows = np.flatnonzero(old_action != new_action)
    words = pa.array(ACTIONS)
    return pa.RecordBatch.from_arrays(
        [
            *events.take(pa.array(rows)).columns,
            *(words.take(pa.array(action[rows])) for action in (old_action, new_action)),
            *(pa.array(score[rows]) for score in (old_score, new_score)),
        ],
        names=[*EVENT_COLUMNS, "old_action", "new_action", "old_score", "new_score"],
    )


def _recorded(batch: pa.RecordBatch) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    return batch.column("recorded_score").to_numpy(), batch.column("recorded_action").to_numpy()


def _evaluated(
    strategy: Strategy, events: pa.RecordBatch, features: NDArray[np.float64], extra: list[dict[str, float]]
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    fill_limits(features, events, strategy.policy.limits)
    score, result = strategy.evaluate_matrix(events, features, strategy.matrix(features, extra))
    return score, result.action


def _count(
    result: DecisionComparison,
    batch: pa.RecordBatch,
    events: pa.RecordBatch,
    old: NDArray[np.int8],
    new: NDArray[np.int8],
) -> None:
    times = events.column("event_time").to_numpy(zero_copy_only=False)
    amount = events.column("amount").to_numpy(zero_copy_only=False)
    encoded = events.column("currency").dictionary_encode()
    currencies: list[str] = encoded.dictionary.to_pylist()
    currency = encoded.indices.to_numpy(zero_copy_only=False)
    fraud = np.zeros(len(batch), np.bool_)
    if "fraud" in batch.schema.names:
        fraud = batch.column("fraud").fill_null(False).to_numpy(zero_copy_only=False)

    def by_currency(which: _Rows) -> Counter[str]:
        sums = {name: int(amount[which & (currency == code)].sum()) for code, name in enumerate(currencies)}
        return Counter({name: total for name, total in sums.items() if total})

    result.first_time = int(times[0]) if result.first_time is None else result.first_time
    result.last_time = int(times[-1])
    result.transactions += len(batch)
    result.frauds += int(fraud.sum())
    for side, action in ((result.old, old), (result.new, new)):
        flagged = action >= _FLAGGED
        side.flagged += int(flagged.sum())
        side.frauds_flagged += int((flagged & fraud).sum())
        side.lost += by_currency(fraud & ~flagged)
        days, alerts = np.unique(times[flagged] // DAY, return_counts=True)
        side.alerts += Counter(
            {format_time(day * DAY)[:10]: n for day, n in zip(days.tolist(), alerts.tolist(), strict=True)}
        )
    codes = old.astype(np.int64) * len(ACTIONS) + new
    for code in np.unique(codes[old != new]).tolist():
        before, after = divmod(code, len(ACTIONS))
        name = f"{ACTIONS[before]} → {ACTIONS[after]}"
        which = codes == code
        result.moves[name] += int(which.sum())
        result.money.setdefault(name, Counter()).update(by_currency(which))


def _events(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the fields of Transaction, absent ones as nulls."""
    names = set(batch.schema.names)
    absent = pa.nulls(len(batch), pa.string())
    return pa.RecordBatch.from_arrays(
        [batch.column(name) if name in names else absent for name in EVENT_COLUMNS], names=list(EVENT_COLUMNS)
    )


def _extra(batch: pa.RecordBatch) -> list[dict[str, float]]:
    names = [name for name in batch.schema.names if name.startswith(EXTRA)]
    if not names:
        return [{}] * len(batch)
    columns = [batch.column(name).to_pylist() for name in names]
    short = [name.removeprefix(EXTRA) for name in names]
    return [dict(zip(short, values, strict=True)) for values in zip(*columns, strict=True)]
