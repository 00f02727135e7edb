"""Refunds, reversals, deposits and completions on the stream, beside payments."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from decisions.strategy import Strategy
from features.store import RedisStore
from streams.arrow import by_column, read
from streams.batch import Computed
from streams.history.run_output import Topics
from streams.metrics import Metrics
from streams.pipeline import Pipeline
from tests.streams.conftest import MakePipeline, NewDeployment
from tests.streams.feed import Record
from vedette.events import Decision, Transaction
from vedette.settings import Settings
from vedette.topics import Name

START = 1_600_000_000_000
MINUTE = 60_000

OpenTopics = Callable[[Settings], Topics]


def transaction(number: int, amount: int, **given: Any) -> Transaction:
    """Return the n-th transaction of one account, a minute after the previous one."""
    return Transaction(
        **{
            "transaction_id": f"t{number}", "account_id": "a", "amount": amount, "currency": "EUR",
            "event_time": START + number * MINUTE, "merchant_id": "m", "device_id": "d", **given,
        }
    )  # fmt: skip


STREAM = (
    transaction(0, 10_000),
    transaction(1, 5_000, kind="authorisation"),
    transaction(2, 10_000, kind="reversal", original_id="t0", merchant_id=None),
    transaction(3, 10_000, kind="reversal", original_id="t0", merchant_id=None),
    transaction(4, 1, kind="reversal", original_id="unknown", merchant_id=None),
    transaction(5, 3_000, kind="completion", original_id="t1"),
    transaction(6, 700, kind="completion", original_id="elsewhere"),
    transaction(7, 1_000, kind="refund", merchant_id=None),
    transaction(8, 50_000, kind="deposit", merchant_id=None),
    transaction(9, 2_000, kind="withdrawal", channel="atm"),
)
UNSCORED = {"t2", "t3", "t4", "t5", "t7", "t8"}


def records(stream: tuple[Transaction, ...], start: int = 0) -> list[Record]:
    """Return messages of one partition."""
    encoded = [msgspec.json.encode(event) for event in stream]
    return [Record(b"a", value, 1, start + offset, START) for offset, value in enumerate(encoded)]


def take_in(pipeline: Pipeline, messages: list[Record]) -> Computed:
    """Compute, publish and write."""
    work = pipeline.compute(Name.TRANSACTIONS, {1: messages})
    assert work is not None
    sent = pipeline.send([work])
    pipeline.confirm(sent)
    assert not pipeline.commit_all(sent, [update.partition for update in work.updates])
    return work


@pytest.mark.parametrize("cut", [1, len(STREAM)])
def test_money_that_comes_back_is_approved_without_a_score(
    deployment: NewDeployment, pipeline: MakePipeline, topics: OpenTopics, cut: int
) -> None:
    """Each transaction gets its decision in order; only payments have a model, features and activity."""
    settings = deployment(f"kinds-{cut}")
    worker, log, metrics = pipeline(settings), topics(settings), Metrics()
    worker.assign({1})
    messages = records(STREAM)
    for start in range(0, len(messages), cut):
        metrics.finished(take_in(worker, messages[start : start + cut]), START)
    decisions = [msgspec.json.decode(m.value(), type=Decision) for m in log.messages(Name.DECISIONS)]
    assert [decision.transaction_id for decision in decisions] == [event.transaction_id for event in STREAM]
    assert {decision.transaction_id for decision in decisions if not decision.model} == UNSCORED
    for decision, event in zip(decisions, STREAM, strict=True):
        assert (decision.kind or None, decision.original_id or None) == (event.kind, event.original_id)
        if decision.transaction_id in UNSCORED:
            assert (decision.action, decision.score, decision.expected_loss) == ("approve", 0.0, 0)
    rows = [row for m in log.messages(Name.FEATURES) for row in by_column(read(m.value())).to_pylist()]
    assert [row["transaction_id"] for row in rows] == ["t0", "t1", "t6", "t9"]
    last = rows[-1]
    assert last["account_count_1h"] == 4  # what was attempted stays counted
    assert last["account_sum_1h"] == (3_000 + 700 - 1_000 + 2_000) / 100
    assert last["day_total"] == last["account_sum_1h"]
    activity = [row for m in log.messages(Name.ACTIVITY) for row in read(m.value()).to_pylist()]
    assert len(activity) == 2 * 4
    shown = metrics.render().decode()
    assert 'vedette_decisions_total{action="approve"}' in shown
    assert 'vedette_unscored_total{kind="reversal"} 3.0' in shown
    assert "vedette_unmatched_total 3.0" in shown  # the second reversal, that of nothing, and a completion
    store = RedisStore(settings.redis)
    assert store.positions(Name.TRANSACTIONS, [1]) == {1: len(STREAM)}
    store.close()

    again = records(STREAM, len(STREAM))
    work = take_in(worker, again)
    assert work.counts.duplicates == len(STREAM)
    assert len(log.messages(Name.DECISIONS)) == len(STREAM)


def test_a_policy_can_have_refunds_scored(
    deployment: NewDeployment, pipeline: MakePipeline, topics: OpenTopics, strategy: Strategy
) -> None:
    """A kind that the policy names is scored as a payment of its amount, and leaves no activity."""
    settings = deployment("scored")
    form = msgspec.structs.replace(strategy.policy.form, scored_kinds=["refund"])
    scoring = Strategy(strategy.scorer, type(strategy.policy)("p@1", form, strategy.policy.rules, {}))
    worker, log = pipeline(settings, scoring), topics(settings)
    worker.assign({1})
    take_in(worker, records(STREAM))
    decisions = [msgspec.json.decode(m.value(), type=Decision) for m in log.messages(Name.DECISIONS)]
    assert {decision.transaction_id for decision in decisions if not decision.model} == UNSCORED - {"t7"}
    (row,) = [row for m in log.messages(Name.FEATURES) for row in by_column(read(m.value())).to_pylist()
              if row["transaction_id"] == "t7"]  # fmt: skip
    assert row["amount_major"] == 10.0
    assert len([row for m in log.messages(Name.ACTIVITY) for row in read(m.value()).to_pylist()]) == 2 * 4


def test_without_history_money_that_comes_back_is_approved_too(
    deployment: NewDeployment, pipeline: MakePipeline, topics: OpenTopics
) -> None:
    """While Redis is away, nothing that returns money is delayed; a completion counts by the payment it names."""
    settings = deployment("degraded")
    worker, log = pipeline(settings), topics(settings)
    worker.assign({1})
    number, delivery = worker.decide_without_history(records(STREAM))
    worker.wait(delivery)
    assert number == len(STREAM)
    decisions = [msgspec.json.decode(m.value(), type=Decision) for m in log.messages(Name.DECISIONS)]
    assert all(decision.degraded for decision in decisions)
    assert {decision.transaction_id for decision in decisions if not decision.model} == UNSCORED | {"t6"}
    assert [decision.transaction_id for decision in decisions] == [event.transaction_id for event in STREAM]
