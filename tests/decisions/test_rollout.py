from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from decisions.policy_file import load_policy
from decisions.rollout import Rollout, in_rollout
from decisions.strategy import Strategy
from features.catalogue import NAMES, SETTLED
from features.transaction_schema import SCHEMA
from models.scorer import Scorer

_ROWS = 400


@pytest.fixture(scope="module")
def batch() -> pa.RecordBatch:
    """Payments of 200 accounts."""
    rows = [
        {"transaction_id": f"t{i}", "account_id": f"a{i % 200}", "amount": 1_000 * (i % 90), "currency": "EUR",
         "event_time": i, "merchant_id": "m"}
        for i in range(_ROWS)
    ]  # fmt: skip
    return pa.RecordBatch.from_pylist([{name: row.get(name) for name in SCHEMA.names} for row in rows], schema=SCHEMA)


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """Arbitrary features."""
    return np.random.default_rng(4).gamma(1.0, 20.0, (_ROWS, len(NAMES)))


class Other(Scorer):
    """The same model under another name, with higher scores, or one that fails."""

    def __init__(self, scorer: Scorer, version: str, failure: str = "") -> None:
        vars(self).update(vars(scorer))
        self.version = version
        self._failure = failure

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return scores, or raise the given error."""
        if self._failure == "raises":
            raise RuntimeError("broken")
        if self._failure == "nan":
            return np.full(len(matrix), np.nan)
        return np.sqrt(super().predict(matrix))


def rollout(strategy: Strategy, fraction: float, failure: str = "") -> Rollout:
    """The shipped model, with another one as challenger."""
    return Rollout(strategy, Strategy(Other(strategy.scorer, "other@00000001", failure), strategy.policy), fraction)


def test_each_decision_is_wholly_of_the_model_it_names(
    strategy: Strategy, batch: pa.RecordBatch, features: np.ndarray
) -> None:
    """With 30 % for the challenger, each decision equals the one that its model would have made alone."""
    extra = [{}] * _ROWS
    both = rollout(strategy, 0.3)
    assert both.challenger
    mixed = both.decide(batch, features, extra, degraded=False)
    alone = {
        who.scorer.version: Rollout(who).decide(batch, features, extra, degraded=False).decisions
        for who in (both.champion, both.challenger)
    }
    assert {decision.model for decision in mixed.decisions} == set(alone)
    assert mixed.decisions == [alone[decision.model][row] for row, decision in enumerate(mixed.decisions)]
    of = {decision.account_id: decision.model for decision in mixed.decisions}
    assert all(of[decision.account_id] == decision.model for decision in mixed.decisions)
    assert [alert.transaction_id for alert in mixed.alerts] == [
        decision.transaction_id for decision in mixed.decisions if decision.action != "approve"
    ]


def test_the_other_model_is_logged_beside_the_one_that_decides(
    strategy: Strategy, batch: pa.RecordBatch, features: np.ndarray
) -> None:
    """The log has both scores of every payment, whichever decided, and the flag counts cover both on all payments."""
    extra = [{}] * _ROWS
    both = rollout(strategy, 0.3)
    assert both.challenger
    mixed = both.decide(batch, features, extra, degraded=False)
    logged = mixed.log()
    role = np.array(logged["role"].to_pylist())
    shadow = logged["shadow_score"].to_numpy()
    champion, challenger = (who.scorer.predict(features) for who in (both.champion, both.challenger))
    assert np.array_equal(np.where(role == "champion", mixed.score, shadow), champion)
    assert np.array_equal(np.where(role == "champion", shadow, mixed.score), challenger)
    assert {name: count.scored for name, count in mixed.flag_counts.items()} == {"champion": _ROWS, "challenger": _ROWS}
    assert mixed.versions["challenger"] == "other@00000001"


@pytest.mark.parametrize("failure", ["raises", "nan"])
def test_a_challenger_that_fails_decides_nothing(
    strategy: Strategy, batch: pa.RecordBatch, features: np.ndarray, failure: str
) -> None:
    """The champion decides on the whole batch, exactly as if it were alone, and the failure is reported."""
    extra = [{}] * _ROWS
    failed = rollout(strategy, 1.0, failure).decide(batch, features, extra, degraded=False)
    assert failed.failure
    assert failed.decisions == Rollout(strategy).decide(batch, features, extra, degraded=False).decisions


def test_a_share_of_the_accounts_is_stable_and_grows() -> None:
    """A larger share keeps the same accounts, another challenger draws others, and at 0 there are none."""
    accounts = pa.array([f"account-{i}" for i in range(20_000)])
    fifth, half = in_rollout(accounts, "a@1", 0.2), in_rollout(accounts, "a@1", 0.5)
    assert fifth.mean() == pytest.approx(0.2, abs=0.01)
    assert not (fifth & ~half).any()
    assert np.array_equal(in_rollout(accounts[::-1], "a@1", 0.2), fifth[::-1])
    assert (fifth & in_rollout(accounts, "b@1", 0.2)).mean() == pytest.approx(0.04, abs=0.01)
    assert not in_rollout(accounts, "a@1", 0.0).any()
    assert in_rollout(accounts, "a@1", 1.0).all()


def test_decisions_do_not_depend_on_columns_that_nobody_reads(
    strategy: Strategy, batch: pa.RecordBatch, features: np.ndarray
) -> None:
    """Without the live features, which neither model nor policy reads, decisions and reasons have the same bits."""
    both = rollout(strategy, 0.3)
    assert not both.reads_live
    settled = np.ascontiguousarray(features[:, : len(SETTLED)])
    whole = both.decide(batch, features, [{}] * _ROWS, degraded=False)
    narrow = both.decide(batch, settled, [{}] * _ROWS, degraded=False)
    assert narrow.messages == whole.messages
    assert any(decision.reasons for decision in narrow.decisions)


def test_a_policy_that_reads_a_live_feature_gets_it(strategy: Strategy, tmp_path: Path) -> None:
    """A rule on a live feature, even a shadow one, makes the worker compute the live features."""
    file = tmp_path / "policy.yaml"
    file.write_text(
        "format: 1\nname: trial\nversion: 7\nthresholds: {decline: [{probability: 0.9}]}\nrules:\n"
        "  - {name: crowd, when: payee_live_new_accounts_1h >= 5, action: review, reason: a crowd, shadow: true}\n",
        encoding="utf-8",
    )
    assert Rollout(Strategy(strategy.scorer, load_policy(file))).reads_live
    assert rollout(Strategy(strategy.scorer, load_policy(file)), 0.3).reads_live
