import numpy as np
import pyarrow as pa
import pytest

from features import NAMES
from models.scorer import Scorer
from streams.decode import SCHEMA
from streams.panel import Panel, in_share
from streams.scoring import Judge

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
    """Features that are anything."""
    return np.random.default_rng(4).gamma(1.0, 20.0, (_ROWS, len(NAMES)))


class Other(Scorer):
    """The same model under another name, whose scores are higher, or that fails."""

    def __init__(self, scorer: Scorer, version: str, failure: str = "") -> None:
        vars(self).update(vars(scorer))
        self.version = version
        self._failure = failure

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Scores, or what goes wrong."""
        if self._failure == "raises":
            raise RuntimeError("broken")
        if self._failure == "nan":
            return np.full(len(matrix), np.nan)
        return np.sqrt(super().predict(matrix))


def panel(judge: Judge, share: float, failure: str = "") -> Panel:
    """The shipped model, challenged by another."""
    return Panel(judge, Judge(Other(judge.scorer, "other@00000001", failure), judge.policy), share)


def test_each_decision_is_wholly_of_the_model_it_names(
    judge: Judge, batch: pa.RecordBatch, features: np.ndarray
) -> None:
    """With 30 % for the challenger, a decision equals what the model it names would have decided all alone."""
    extra = [{}] * _ROWS
    both = panel(judge, 0.3)
    assert both.challenger
    mixed = both.judge(batch, features, extra, degraded=False)
    alone = {
        who.scorer.version: Panel(who).judge(batch, features, extra, degraded=False).decisions
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
    judge: Judge, batch: pa.RecordBatch, features: np.ndarray
) -> None:
    """The log has both scores of every payment, whoever decided, and tallies count both on all payments."""
    extra = [{}] * _ROWS
    both = panel(judge, 0.3)
    assert both.challenger
    mixed = both.judge(batch, features, extra, degraded=False)
    logged = mixed.log()
    role = np.array(logged["role"].to_pylist())
    shadow = logged["shadow_score"].to_numpy()
    champion, challenger = (who.scorer.predict(features) for who in (both.champion, both.challenger))
    assert np.array_equal(np.where(role == "champion", mixed.score, shadow), champion)
    assert np.array_equal(np.where(role == "champion", shadow, mixed.score), challenger)
    assert {name: tally.scored for name, tally in mixed.tallies.items()} == {"champion": _ROWS, "challenger": _ROWS}
    assert mixed.about["challenger"] == "other@00000001"


@pytest.mark.parametrize("failure", ["raises", "nan"])
def test_a_challenger_that_fails_decides_nothing(
    judge: Judge, batch: pa.RecordBatch, features: np.ndarray, failure: str
) -> None:
    """The champion decides on the whole batch, exactly as if it were alone, and the failure is told."""
    extra = [{}] * _ROWS
    failed = panel(judge, 1.0, failure).judge(batch, features, extra, degraded=False)
    assert failed.failure
    assert failed.decisions == Panel(judge).judge(batch, features, extra, degraded=False).decisions


def test_a_share_of_the_accounts_is_stable_and_grows() -> None:
    """The same accounts are always in, a larger share keeps them, another challenger draws others, none at 0."""
    accounts = pa.array([f"account-{i}" for i in range(20_000)])
    fifth, half = in_share(accounts, "a@1", 0.2), in_share(accounts, "a@1", 0.5)
    assert fifth.mean() == pytest.approx(0.2, abs=0.01)
    assert not (fifth & ~half).any()
    assert np.array_equal(in_share(accounts[::-1], "a@1", 0.2), fifth[::-1])
    assert (fifth & in_share(accounts, "b@1", 0.2)).mean() == pytest.approx(0.04, abs=0.01)
    assert not in_share(accounts, "a@1", 0.0).any()
    assert in_share(accounts, "a@1", 1.0).all()
