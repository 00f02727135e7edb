"""What another model or policy would have decided: a replay that touches neither state nor topics."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import Backfill
from streams.policy import ACTIONS
from streams.scoring import EVENT_COLUMNS, Judge
from vedette.clock import DAY

_FLAGGED = 1
"""Actions from here on are flagged: people hear of them."""


@dataclass
class Side:
    """How one model and policy did."""

    flagged: int = 0
    frauds_flagged: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    """Amount of the frauds not flagged, minor units by currency."""


@dataclass
class Comparison:
    """Everything that would change, counted while it is replayed."""

    transactions: int = 0
    frauds: int = 0
    first_time: int | None = None
    last_time: int = 0
    moves: dict[str, int] = field(default_factory=dict)
    """'old → new' action → number of transactions."""
    money: dict[str, dict[str, int]] = field(default_factory=dict)
    """'old → new' action → currency → amount in minor units."""
    old: Side = field(default_factory=Side)
    new: Side = field(default_factory=Side)
    changed: list[pa.RecordBatch] = field(default_factory=list)
    """The transactions that change, with both actions and scores."""

    @property
    def days(self) -> float:
        """Event time covered, in days, at least one."""
        return max((self.last_time - (self.first_time or 0)) / DAY, 1.0)

    def summary(self) -> dict[str, object]:
        """All of it as plain values, the changed transactions only counted."""
        return {
            "transactions": self.transactions,
            "changed": sum(self.moves.values()),
            "moves": self.moves,
            "money": self.money,
            "frauds": self.frauds,
            **{
                name: {
                    "alerts_per_day": round(side.flagged / self.days, 1),
                    "recall": round(side.frauds_flagged / self.frauds, 4) if self.frauds else None,
                    "precision": round(side.frauds_flagged / side.flagged, 4) if side.flagged else None,
                    "fraud_not_flagged": side.lost,
                }
                for name, side in (("old", self.old), ("new", self.new))
            },
        }


def compare(
    batches: Iterable[pa.RecordBatch],
    old: Judge,
    new: Judge,
    *,
    since: int = 0,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Comparison:
    """Replay transactions through the kernel and both judges.

    Args:
        batches: In order of event time, as Backfill.advance takes them; what comes before `since` only builds state.
        old: The model and policy to compare with.
        new: The model and policy in question.
        since: Event time from which decisions are compared, milliseconds.
        on_progress: Told the number of transactions taken in and the event time reached.

    Raises:
        InputError: The batches are not in order of event time.
    """
    state, result = Backfill(), Comparison()
    taken = 0
    for batch in batches:
        features = state.advance(batch)
        times = batch.column("event_time").to_numpy(zero_copy_only=False)
        start = int(np.searchsorted(times, since))
        if start < len(batch):
            _compare(result, batch.slice(start), features[start:], old, new)
        taken += len(batch)
        on_progress(taken, int(times[-1]) if len(times) else 0)
    return result


def _compare(result: Comparison, batch: pa.RecordBatch, features: NDArray[np.float64], old: Judge, new: Judge) -> None:
    events = _events(batch)
    extra = _extra(batch)
    actions: list[NDArray[np.int8]] = []
    scores: list[NDArray[np.float64]] = []
    for judge in (old, new):
        score, verdict = judge.verdict(events, features, judge.matrix(features, extra))
        scores.append(score)
        actions.append(verdict.action)
    amount = events.column("amount").to_numpy(zero_copy_only=False)
    encoded = events.column("currency").dictionary_encode()
    currencies: list[str] = encoded.dictionary.to_pylist()
    currency = encoded.indices.to_numpy(zero_copy_only=False)
    fraud = np.zeros(len(batch), np.bool_)
    if "fraud" in batch.schema.names:
        fraud = batch.column("fraud").fill_null(False).to_numpy(zero_copy_only=False)

    times = events.column("event_time").to_numpy(zero_copy_only=False)
    result.first_time = int(times[0]) if result.first_time is None else result.first_time
    result.last_time = int(times[-1])
    result.transactions += len(batch)
    result.frauds += int(fraud.sum())

    def by_currency(which: NDArray[np.bool_], into: dict[str, int]) -> None:
        for code, name in enumerate(currencies):
            if total := int(amount[which & (currency == code)].sum()):
                into[name] = into.get(name, 0) + total

    for side, action in zip((result.old, result.new), actions, strict=True):
        flagged = action >= _FLAGGED
        side.flagged += int(flagged.sum())
        side.frauds_flagged += int((flagged & fraud).sum())
        by_currency(fraud & ~flagged, side.lost)
    for before, after in {*zip(*(action.tolist() for action in actions), strict=True)}:
        if before != after:
            name = f"{ACTIONS[before]} → {ACTIONS[after]}"
            which = (actions[0] == before) & (actions[1] == after)
            result.moves[name] = result.moves.get(name, 0) + int(which.sum())
            by_currency(which, result.money.setdefault(name, {}))
    rows = np.flatnonzero(actions[0] != actions[1])
    if len(rows):
        words = pa.array(ACTIONS)
        result.changed.append(
            pa.RecordBatch.from_arrays(
                [
                    *events.take(pa.array(rows)).columns,
                    *(words.take(pa.array(action[rows])) for action in actions),
                    *(pa.array(score[rows]) for score in scores),
                ],
                names=[*EVENT_COLUMNS, "old_action", "new_action", "old_score", "new_score"],
            )
        )


def _events(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The fields of Transaction, absent ones as nulls."""
    names = set(batch.schema.names)
    absent = pa.nulls(len(batch), pa.string())
    return pa.RecordBatch.from_arrays(
        [batch.column(name) if name in names else absent for name in EVENT_COLUMNS], names=list(EVENT_COLUMNS)
    )


def _extra(batch: pa.RecordBatch) -> list[dict[str, float]]:
    names = [name for name in batch.schema.names if name.startswith("extra.")]
    if not names:
        return [{}] * len(batch)
    columns = [batch.column(name).to_pylist() for name in names]
    short = [name.removeprefix("extra.") for name in names]
    return [dict(zip(short, values, strict=True)) for values in zip(*columns, strict=True)]
