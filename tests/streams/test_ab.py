import numpy as np
import pyarrow as pa
import pytest

from streams.ab import report
from streams.featurelog import FeatureLog
from vedette.clock import DAY
from vedette.errors import InputError
from vedette.events import Label

_ROWS, _ACCOUNTS = 20_000, 1_000


def log(challenger_rate: float, *, tried: bool = True) -> tuple[FeatureLog, dict[str, Label]]:
    """Payments of twenty days, a tenth of the accounts decided by a challenger that flags at a rate of its own.

    The champion flags 2 %. A payment in a hundred is fraud; the challenger ranks frauds perfectly, the champion not.
    """
    rng = np.random.default_rng(6)
    account = rng.integers(_ACCOUNTS, size=_ROWS)
    mine = account < _ACCOUNTS // 10
    fraud = rng.random(_ROWS) < 0.01
    flags = {
        "champion": (rng.random(_ROWS) < 0.02).astype(np.int64),
        "challenger": (rng.random(_ROWS) < challenger_rate).astype(np.int64),
    }
    scores = {"champion": np.where(rng.random(_ROWS) < 0.5, fraud, rng.random(_ROWS)), "challenger": fraud * 0.9}
    time = np.sort(rng.integers(0, 20 * DAY, _ROWS))
    identities = [f"t{i}" for i in range(_ROWS)]

    def by(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        return np.where(mine, inside, outside)

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
    """Twice as many alerts of the challenger lie outside the interval around none, and inside that around the truth."""
    found = report(*log(0.04), delay_days=7)
    assert found.challenger
    assert found.alert_rate
    assert (found.champion.model, found.challenger.model) == ("a@1", "b@2")
    assert found.champion.accounts + found.challenger.accounts == _ACCOUNTS
    assert 0 < found.alert_rate.low < 0.02 < found.alert_rate.high
    assert found.paired.payments == _ROWS
    assert found.paired.challenger_alert_rate == pytest.approx(0.04, abs=0.005)
    assert found.paired.average_precision
    assert found.paired.average_precision.low > 0


def test_no_difference_is_no_finding() -> None:
    """With the same rate the interval of the difference holds zero."""
    found = report(*log(0.02), delay_days=7)
    assert found.alert_rate
    assert found.alert_rate.low < 0 < found.alert_rate.high


def test_young_payments_say_nothing_about_recall() -> None:
    """Only payments older than the label delay count as mature: none with a delay longer than the log."""
    seven, month = (report(*log(0.02), delay_days=days) for days in (7, 30))
    assert seven.champion.mature == pytest.approx(0.9 * _ROWS * 13 / 20, rel=0.05)
    assert month.champion.mature == 0
    assert month.champion.recall is None
    assert month.paired.average_precision is None


def test_without_a_challenge_there_is_nothing_to_compare() -> None:
    """A log of one model alone says how to start a challenge."""
    with pytest.raises(InputError, match="scored by two models"):
        report(*log(0.02, tried=False), delay_days=7)
