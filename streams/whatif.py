"""What another model or policy would have decided: a replay that touches neither state nor topics."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import Backfill
from features.limits import fill_limits
from streams.policy import ACTIONS
from streams.scoring import EVENT_COLUMNS, Judge
from vedette.clock import DAY, format_time
from vedette.events import EXTRA

_FLAGGED = 1
"""Actions from here on are flagged: people hear of them."""

_Rows = NDArray[np.bool_]


@dataclass
class Side:
    """How one model and policy did."""

    flagged: int = 0
    frauds_flagged: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    """Amount of the frauds not flagged, minor units by currency."""
    alerts: Counter[str] = field(default_factory=Counter)
    """Flagged transactions by UTC day."""


@dataclass
class Comparison:
    """Everything that would change, counted while it is replayed."""

    transactions: int = 0
    undecided: int = 0
    """Transactions of which no decision is recorded; they are in no other figure."""
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
        """Event time covered, in days, at least one."""
        return max((self.last_time - (self.first_time or 0)) / DAY, 1.0)

    def summary(self) -> dict[str, object]:
        """All of it as plain values."""
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
    old: Judge | None,
    new: Judge,
    into: Comparison,
    *,
    since: int = 0,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Iterator[pa.RecordBatch]:
    """Replay transactions through the kernel and both judges.

    Args:
        batches: In order of event time, as Backfill.advance takes them; what comes before `since` only builds state.
        old: The model and policy to compare with; None for what was decided then, columns RECORDED of streams.past.
        new: The model and policy in question.
        into: Where everything is counted.
        since: Event time from which decisions are compared, milliseconds.
        on_progress: Told the number of transactions taken in.

    Yields:
        For each batch the transactions that change, with both actions and scores; they may be none.

    Raises:
        InputError: The batches are not in order of event time.
    """
    state = Backfill()
    taken = 0
    for batch in batches:
        features = state.advance(batch)
        start = int(np.searchsorted(batch.column("event_time").to_numpy(zero_copy_only=False), since))
        yield _compare(into, batch.slice(start), features[start:], old, new)
        taken += len(batch)
        on_progress(taken)


def _compare(
    result: Comparison, batch: pa.RecordBatch, features: NDArray[np.float64], old: Judge | None, new: Judge
) -> pa.RecordBatch:
    if old is None:
        decided = batch.column("recorded_action").is_valid()
        result.undecided += len(batch) - decided.true_count
        if decided.true_count < len(batch):
            batch, features = batch.filter(decided), features[decided.to_numpy(zero_copy_only=False)]
    events = _events(batch)
    extra = _extra(batch)
    (old_score, old_action), (new_score, new_action) = (
        _recorded(batch) if judge is None else _judged(judge, events, features, extra) for judge in (old, new)
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


def _judged(
    judge: Judge, events: pa.RecordBatch, features: NDArray[np.float64], extra: list[dict[str, float]]
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    fill_limits(features, events, judge.policy.limits)
    score, verdict = judge.verdict(events, features, judge.matrix(features, extra))
    return score, verdict.action


def _count(
    result: Comparison, batch: pa.RecordBatch, events: pa.RecordBatch, old: NDArray[np.int8], new: NDArray[np.int8]
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
    """The fields of Transaction, absent ones as nulls."""
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
