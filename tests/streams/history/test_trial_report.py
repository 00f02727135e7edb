import numpy as np
import pyarrow as pa
import pytest

from streams.history.feature_log import FeatureLog
from streams.history.trial_report import report
from vedette.clock import DAY
from vedette.control import BY_GUARDRAIL, ModelRef, Models
from vedette.errors import InputError
from vedette.events import Label

_ROWS, _ACCOUNTS = 20_000, 1_000


def log(
    challenger_rate: float, *, tried: bool = True, fraud_rate: float = 0.01, fraction: float = 0.1
) -> tuple[FeatureLog, dict[str, Label]]:
    """Payments of twenty days, a tenth of the accounts decided by a challenger that flags at a rate of its own.

    The champion flags 2 %. A payment in a hundred is fraud; the challenger ranks frauds perfectly, the champion not.
    """
    rng = np.random.default_rng(6)
    account = rng.integers(_ACCOUNTS, size=_ROWS)
    by_challenger = account < _ACCOUNTS * fraction
    fraud = rng.random(_ROWS) < fraud_rate
    flags = {
        "champion": (rng.random(_ROWS) < 0.02).astype(np.int64),
        "challenger": (rng.random(_ROWS) < challenger_rate).astype(np.int64),
    }
    scores = {"champion": np.where(rng.random(_ROWS) < 0.5, fraud, rng.random(_ROWS)), "challenger": fraud * 0.9}
    time = np.sort(rng.integers(0, 20 * DAY, _ROWS))
    identities = [f"t{i}" for i in range(_ROWS)]

    def by(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        return np.where(by_challenger, inside, outside)

    table = pa.table(
        {
            "transaction_id": identities,
            "account_id": [f"a{i}" for i in account],
            "event_time": time,
            "amount": np.full(_ROWS, 1_000),
            "role": by(np.array("challenger"), np.array("champion")),
            "model": by(np.array("b@2"), np.array("a@1")),
            "action": by(flags["challenger"], flags["champion"]),
            "shadow_model": by(np.array("a@1"), np.array("b@2")) if tried else [""] * _ROWS,
            "shadow_score": by(scores["champion"], scores["challenger"]),
            "shadow_action": by(flags["champion"], flags["challenger"]),
            "score": by(scores["challenger"], scores["champion"]),
        }
    )
    labels = {
        identities[i]: Label(
            transaction_id=identities[i], account_id="a", fraud=True, source="test", event_time=int(time[i]),
            labelled_at=int(time[i]) + DAY,
        )
        for i in np.flatnonzero(fraud)
    }  # fmt: skip
    return FeatureLog(table, (), np.empty((_ROWS, 0)), 0), labels


def test_a_difference_is_found_with_its_interval() -> None:
    """Twice as many alerts of the challenger lie outside the interval around zero, and inside that around the truth."""
    found = report(*log(0.04), delay_days=7)
    assert found.champion
    assert found.challenger
    assert found.alert_rate
    assert (found.champion.model, found.challenger.model) == ("a@1", "b@2")
    assert found.champion.accounts + found.challenger.accounts == _ACCOUNTS
    assert found.alert_rate.low
    assert found.alert_rate.high
    assert 0 < found.alert_rate.low < 0.02 < found.alert_rate.high
    assert found.same_payments.payments == _ROWS
    assert found.same_payments.challenger_alert_rate == pytest.approx(0.04, abs=0.005)
    assert found.same_payments.average_precision
    assert found.same_payments.average_precision.low
    assert found.same_payments.average_precision.low > 0


def test_no_difference_is_no_finding() -> None:
    """With the same rate the interval of the difference contains zero."""
    found = report(*log(0.02), delay_days=7)
    assert found.alert_rate
    assert found.alert_rate.low
    assert found.alert_rate.high
    assert found.alert_rate.low < 0 < found.alert_rate.high


def test_young_payments_say_nothing_about_recall() -> None:
    """Only payments older than the label delay are mature: none with a delay longer than the log."""
    seven, month = (report(*log(0.02), delay_days=days) for days in (7, 30))
    assert seven.champion
    assert month.champion
    assert seven.champion.mature == pytest.approx(0.9 * _ROWS * 13 / 20, rel=0.05)
    assert month.champion.mature == 0
    assert month.champion.recall is None
    assert month.same_payments.average_precision is None


def test_a_printed_difference_is_that_of_the_two_printed_rates() -> None:
    """The difference of two arms is the difference of their figures, whatever its interval is drawn from."""
    found = report(*log(0.031), delay_days=7)
    for name in ("alert_rate", "recall"):
        one, other = getattr(found.challenger, name), getattr(found.champion, name)
        assert getattr(found, name).value == one.value - other.value


def test_two_frauds_that_are_both_caught_prove_little() -> None:
    """A recall of 100 % on a handful of frauds has an upper end of 100 % and a lower end far above 0 and below 80 %."""
    found = report(*log(1.0, fraud_rate=0.001), delay_days=7)
    assert found.challenger
    assert found.challenger.recall
    assert 0 < found.challenger.frauds < 10
    assert found.challenger.recall.value == found.challenger.recall.high == 1
    assert found.challenger.recall.low
    assert 0.05 < found.challenger.recall.low < 0.8


def test_few_defrauded_accounts_give_no_bootstrap_interval() -> None:
    """With fewer defrauded accounts than a bootstrap needs, the gain in average precision has no interval."""
    gain = report(*log(0.02, fraud_rate=0.0004), delay_days=7).same_payments.average_precision
    assert gain
    assert (gain.low, gain.high) == (None, None)


def test_a_challenger_that_decides_for_everybody_is_not_taken_for_the_champion() -> None:
    """With a rollout to all accounts the champion has no arm, and the challenger keeps its own."""
    found = report(*log(0.04, fraction=1.0), delay_days=7)
    assert found.champion is None
    assert found.challenger
    assert found.challenger.model == "b@2"
    assert found.versions == ("a@1", "b@2")
    assert found.alert_rate is None


def test_a_withdrawal_by_the_guardrail_is_reported() -> None:
    """The report says when and why the guardrail withdrew this challenger, and no other's withdrawal."""
    refs = [ModelRef(name=name, version=f"{number:08}", contract_sha256="0" * 64) for number, name in enumerate("ab")]
    records = [
        Models(champion=refs[0], withdrawn=ref, at=5, approver=BY_GUARDRAIL, reason="it flags too much") for ref in refs
    ]
    feature_log, labels = log(0.04)
    table = feature_log.table
    for column in ("model", "shadow_model"):
        place = table.schema.get_field_index(column)
        named = [str(refs["ab".index(value[0])]) for value in table[column].to_pylist()]
        table = table.set_column(place, column, pa.array(named))
    feature_log = FeatureLog(table, (), feature_log.matrix, 0)
    withdrawn, other = (report(feature_log, labels, 7, control=record).withdrawn for record in records[::-1])
    assert withdrawn
    assert (withdrawn.at, withdrawn.reason) == (5, "it flags too much")
    assert other is None


def test_without_a_trial_there_is_nothing_to_compare() -> None:
    """A log of a single model says how to start a trial."""
    with pytest.raises(InputError, match="scored by two models"):
        report(*log(0.02, tried=False), delay_days=7)
