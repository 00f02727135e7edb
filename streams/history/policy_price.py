"""The price of a policy before it acts: the decisions of a past span under it, beside those under the one in force."""

import heapq
import tempfile
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from decisions.policy_record import policy_of
from decisions.strategy import Strategy
from streams.history.control_state import read_control
from streams.history.strategy_in_force import strategy_in_force
from streams.history.topic_history import past
from streams.history.whatif import DecisionComparison, compare
from vedette.clock import DAY
from vedette.events import MAX_TIME
from vedette.settings import Settings

WARM_UP = 45 * DAY
"""How much history builds the state before the span: the longest window of a feature, and some more."""

LISTED = 200
"""How many of the changed decisions are kept, those on the largest amounts."""

Show = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and how much there is, if known."""


class ChangedDecision(msgspec.Struct, frozen=True):
    """A payment whose decision changes; amount in minor units, time in milliseconds since 1970 UTC."""

    transaction_id: str
    account_id: str
    event_time: int
    amount: int
    currency: str
    old_action: str
    new_action: str
    score: float


class PolicyPrice(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy would have changed; money in minor units by currency.

    Attributes:
        old: Name of the policy in force.
        new: Name of the policy that was tried.
        model: The model that scored for both.
        payments: Payments of the span.
        days: Event time that they cover, at least 1.
        changed: Decisions that change.
        moves: 'old → new' action → number of payments.
        money: 'old → new' action → amounts.
        frauds: Payments known to be fraud.
        saved: Fraud that only the new policy flags, less fraud that only the old one flags.
        alerts_per_day: Flagged payments a day, under the old and the new policy.
        frauds_flagged: Frauds flagged, under the old and the new policy.
        flagged: Payments flagged, under the old and the new policy.
        largest: The changed decisions on the largest amounts, the latest first.
    """

    old: str
    new: str
    model: str
    payments: int
    days: float
    changed: int
    moves: dict[str, int]
    money: dict[str, dict[str, int]]
    frauds: int
    saved: dict[str, int]
    alerts_per_day: tuple[float, float]
    frauds_flagged: tuple[int, int]
    flagged: tuple[int, int]
    largest: list[ChangedDecision]


def price(settings: Settings, files: Mapping[str, str], *, since: int, show: Show) -> PolicyPrice:
    """Replay the transactions of the topics under the policy in force and under another one.

    The model is the champion for both, and both are computed again, so whatever differs comes from the policy. Nothing
    is published, and no state is touched.

    Args:
        settings: Settings of the deployment.
        files: The policy to try, see decisions.policy_record.
        since: Event time from which decisions are compared, milliseconds since 1970 UTC; 0: all.
        show: Receives the progress.

    Raises:
        InputError: There are no transactions.
        PolicyError: A policy is not valid.
        UnavailableError: The broker or the registry does not answer.
    """
    old = strategy_in_force(settings, read_control(settings))
    new = Strategy(old.scorer, policy_of(files))
    result, kept = DecisionComparison(), _Largest()
    with (
        tempfile.TemporaryDirectory(prefix="vedette-price-") as scratch,
        past(
            settings, Path(scratch), start_ms=max(since - WARM_UP, 0), end_ms=MAX_TIME, extra=new.scorer.extra,
            on_read=lambda topic, messages: lambda done: show(f"reading {topic}", done, messages),
        ) as history,
    ):  # fmt: skip
        replayed = compare(
            history.in_order(), old, new, result, since=since, on_progress=lambda done: show("replaying", done, None)
        )
        for changed in replayed:
            kept.add(changed.to_pylist())
    sides = result.old, result.new
    lost = sides[0].lost.copy()
    lost.subtract(sides[1].lost)
    return PolicyPrice(
        old=old.policy.name, new=new.policy.name, model=old.scorer.version, payments=result.transactions,
        days=result.days, changed=result.moves.total(), moves=dict(result.moves),
        money={move: dict(sums) for move, sums in result.money.items()}, frauds=result.frauds,
        saved={currency: amount for currency, amount in sorted(lost.items()) if amount},
        alerts_per_day=_pair(*(side.flagged / result.days for side in sides)),
        frauds_flagged=_pair(*(side.frauds_flagged for side in sides)),
        flagged=_pair(*(side.flagged for side in sides)), largest=kept.sorted(),
    )  # fmt: skip


def _pair(old: Any, new: Any) -> tuple[Any, Any]:
    return old, new


class _Largest:
    """The changed decisions on the largest amounts."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, ChangedDecision]] = []
        self._number = count()

    def add(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            fields = {name: row[name] for name in ChangedDecision.__struct_fields__ if name != "score"}
            entry = row["amount"], next(self._number), ChangedDecision(**fields, score=row["new_score"])
            if len(self._heap) < LISTED:
                heapq.heappush(self._heap, entry)
            else:
                heapq.heappushpop(self._heap, entry)

    def sorted(self) -> list[ChangedDecision]:
        return sorted((decision for _, _, decision in self._heap), key=lambda one: -one.event_time)
