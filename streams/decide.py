"""From the states that a batch of payments reads to its decisions: the same for the worker and for previews."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from decisions.encoding import utf8_texts
from decisions.rollout import BatchDecision, Rollout
from features.columns import Columns
from features.engine import Advanced, advance_accounts, query_entities
from features.kernel_account import DUPLICATE
from features.limits import fill_limits
from features.signals import encode_signals
from streams.batch import StageClock
from streams.decode import Transactions
from streams.own_decisions import DecisionTail, StandingDecision
from streams.payments import Payments, ScoredPayments, payments_of
from streams.publish import OutgoingDecision
from streams.takeover import payments_in, see_what_was_seen, take_over


@dataclass(frozen=True)
class StatesRead:
    """The states that n payments read.

    Attributes:
        accounts: State of each account; None for a new one.
        account_slot: int64[n], index of the account of each payment.
        entities: State of each merchant, device and address; None for a new one.
        entity_slot: int64[n, KINDS], index of the merchant, device, address and payee of each payment, and of its
            account as a payee, -1 for none.
    """

    accounts: Sequence[bytes | None]
    account_slot: NDArray[np.int64]
    entities: Sequence[bytes | None]
    entity_slot: NDArray[np.int64]


@dataclass(frozen=True)
class DecidedPayments:
    """The decisions on a batch.

    Attributes:
        advanced: The accounts after the batch.
        payments: The transactions that were decided: all but those whose decision was published before.
        messages: Their decisions as JSON.
        scored: Those of them that were scored.
        decided: The decisions on these.
        unscored: Kind → number of those that were approved without a score.
        duplicates: Number of transactions whose decision was published before.
        standing: By row of `payments`, decisions that were already published, and are not published again.
        scored_rows: intp[], the rows of `payments` that were scored.
    """

    advanced: Advanced
    payments: Payments
    messages: list[bytes]
    scored: ScoredPayments
    decided: BatchDecision
    unscored: dict[str, int]
    duplicates: int
    standing: dict[int, StandingDecision]
    scored_rows: NDArray[np.intp]


def decide_payments(
    decoded: Transactions, columns: Columns, partition: NDArray[np.int32], states: StatesRead, rollout: Rollout,
    clock: StageClock, label_delay: int, tails: Mapping[int, DecisionTail] | None = None,
) -> DecidedPayments:  # fmt: skip
    """Compute the features of n payments and decide them; nothing outside is read or changed.

    Args:
        decoded: The payments.
        columns: The same payments as input of the kernels.
        partition: int32[n], partition of each message.
        states: The states that they read.
        rollout: The models and the policy.
        clock: Takes the time of the stages.
        label_delay: Milliseconds.
        tails: By partition, decisions of which some may be on these payments.

    Raises:
        UnavailableError: The broker does not say which decisions there are.
    """
    advanced = advance_accounts(
        states.accounts, states.account_slot, columns, delay=label_delay, live=rollout.reads_live
    )
    signals = query_entities(states.entities, states.entity_slot, columns, advanced.features, delay=label_delay)
    standing = _standing(decoded, partition, tails) if tails else {}
    if standing:
        see_what_was_seen(standing, signals, columns, advanced.features)
    fill_limits(advanced.features, decoded.batch, rollout.champion.policy.limits)
    clock.lap("features")

    payments = payments_of(decoded, columns, advanced, signals, partition)
    if duplicates := int(np.count_nonzero(advanced.status == DUPLICATE)):
        # Their decisions are already published: state is only written once everything of its batch is published.
        kept = np.flatnonzero(advanced.status != DUPLICATE)
        payments = payments.rows(kept)
        standing = {place: standing[row] for place, row in enumerate(kept.tolist()) if row in standing}
    rows, others = rollout.split(payments.batch, payments.pays)
    scored = payments.scored(rows)
    decided = rollout.decide(scored.batch, scored.features, scored.extra, degraded=False)
    if standing:
        of_scored = {place: standing[row] for place, row in enumerate(rows.tolist()) if row in standing}
        decided = take_over(decided, scored.batch, of_scored)
    messages = rollout.with_unscored(decided.messages, payments.batch, others, degraded=False)
    clock.lap("score")
    kinds = payments.batch.column("kind").take(pa.array(others)).to_pylist() if len(others) else []
    unscored = dict(Counter(kinds))
    return DecidedPayments(advanced, payments, messages, scored, decided, unscored, duplicates, standing, rows)


def _standing(
    decoded: Transactions, partition: NDArray[np.int32], tails: Mapping[int, DecisionTail]
) -> dict[int, StandingDecision]:
    """Return the decisions that are already there, by row."""
    standing: dict[int, StandingDecision] = {}
    for row, (number, payment) in enumerate(zip(partition.tolist(), payments_in(decoded.batch), strict=True)):
        if number in tails and (known := tails[number].find(payment)):
            standing[row] = known
    return standing


def outgoing_decisions(made: DecidedPayments) -> list[OutgoingDecision]:
    """Return the decisions to publish: all but those that were already there."""
    payments = made.payments
    accounts = utf8_texts(payments.batch.column("account_id"))
    signals = encode_signals(payments.signals)
    outgoing = list(map(OutgoingDecision, accounts, made.messages, payments.partition.tolist(), signals))
    return [one for row, one in enumerate(outgoing) if row not in made.standing] if made.standing else outgoing
