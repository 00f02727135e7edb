from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from models.frame import Frame
from models.guards import boosting, leakage, quality
from models.guards.leakage import LeakageError, Split
from models.train import TrainingConfig
from vedette.clock import DAY
from vedette.errors import InputError

START = 1_522_540_800_000


def payments(rows: int = 1_000) -> pd.DataFrame:
    """A clean file: a payment every ten minutes, one in fifty a fraud."""
    return pd.DataFrame(
        {
            "transaction_id": [f"t{row}" for row in range(rows)],
            "account_id": [f"a{row % 50}" for row in range(rows)],
            "event_time": START + np.arange(rows) * 600_000,
            "amount": np.arange(rows) % 90 + 100,
            "fraud": np.arange(rows) % 50 == 0,
        }
    )


def split(history: Frame) -> Split:
    """Two weeks teach, one waits for labels, the rest judge."""
    training = np.flatnonzero(history.event_time < START + 14 * DAY)
    test = np.flatnonzero(history.event_time >= START + 21 * DAY)
    return Split(training, test, known_at=START + 21 * DAY, delay=7)


def test_clean_data_has_no_findings() -> None:
    """Nothing is said of a file that is as it should be."""
    assert quality.check(payments()) == []


@pytest.mark.parametrize(
    ("change", "check", "severity"),
    [
        ({"amount": lambda d: d["amount"].where(d.index != 3, -5)}, "not negative", "error"),
        ({"transaction_id": lambda d: d["transaction_id"].where(d.index != 3, "t4")}, "field_uniqueness", "error"),
        ({"account_id": lambda d: d["account_id"].where(d.index != 3)}, "not_nullable", "error"),
        ({"amount": lambda d: d["amount"] + 0.5}, "dtype('int64')", "error"),
        ({"event_time": lambda d: d["event_time"].iloc[::-1].to_numpy()}, "order", "error"),
        ({"event_time": lambda d: d["event_time"] + (d.index >= 500) * 3 * DAY}, "gap", "warning"),
        ({"fraud": lambda d: d["amount"] > 0}, "labels", "error"),
        ({"fraud": lambda d: d["amount"] > 120}, "share", "warning"),
        ({"device_id": lambda d: np.where(d.index < 10, "x", None)}, "missing", "warning"),
        ({"device_id": None, "channel": None}, "absent", "warning"),
    ],
)
def test_every_kind_of_bad_data_is_found(change: dict[str, object], check: str, severity: str) -> None:
    """One fault gives one finding, of the right kind and severity."""
    (finding,) = quality.check(payments().assign(**change))
    assert (finding.check, finding.severity) == (check, severity)
    assert finding.rows > 0


def test_errors_stop_the_training_and_warnings_do_not() -> None:
    """The refusal names the first error."""
    quality.stop_on_errors(quality.check(payments().assign(fraud=lambda d: d["amount"] > 120)))
    with pytest.raises(InputError, match="amount: not negative is broken by -1"):
        quality.stop_on_errors(quality.check(payments().assign(amount=-1)))


def test_an_honest_split_passes(history: Frame) -> None:
    """Training before the delay, test after it, no telling column."""
    leakage.check(history, split(history))


def test_a_label_that_has_not_arrived_is_refused(history: Frame) -> None:
    """The same split a day earlier would use labels of the future."""
    with pytest.raises(LeakageError, match="labels that teach arrive after"):
        leakage.check(history, replace(split(history), known_at=START + 20 * DAY))


def test_a_random_split_is_refused(history: Frame) -> None:
    """Rows drawn at random reach beyond the first that judges."""
    rows = np.random.default_rng(0).permutation(len(history))
    with pytest.raises(LeakageError, match="split by time"):
        leakage.check(history, replace(split(history), training=rows[:6_000], test=rows[6_000:]))


def test_rows_that_teach_and_judge_are_refused(history: Frame) -> None:
    """One row in both is enough."""
    honest = split(history)
    with pytest.raises(LeakageError, match="1 rows teach and judge"):
        leakage.check(history, replace(honest, test=np.append(honest.training[:1], honest.test)))


def test_permuted_time_is_refused(history: Frame) -> None:
    """Times that do not rise say nothing about what came before."""
    shuffled = replace(history, event_time=np.random.default_rng(0).permutation(history.event_time))
    with pytest.raises(LeakageError, match="earlier than the row before"):
        leakage.check(shuffled, split(history))


def test_the_target_in_disguise_is_refused(history: Frame) -> None:
    """Under another name it ranks too well; under its own name it is refused whatever it ranks."""
    noise = np.random.default_rng(0).random(len(history))
    disguised = replace(
        history, names=(*history.names, "extra.case"), matrix=np.column_stack([history.matrix, history.fraud + noise])
    )
    with pytest.raises(LeakageError, match=r"extra\.case alone ranks"):
        leakage.check(disguised, split(history))
    named = replace(
        disguised, names=(*history.names, "extra.fraud_type"), matrix=np.column_stack([history.matrix, noise])
    )
    with pytest.raises(LeakageError, match="called like the target"):
        leakage.check(named, split(history))
    leakage.check(named, split(history), known_names=("extra.fraud_type",))


def test_lightgbms_own_start_is_refused_for_rare_frauds(history: Frame) -> None:
    """The trap is explained with the numbers of the training; the project's own settings and weighting pass."""
    rare = np.arange(10_000) < 20
    with pytest.raises(InputError, match=r"0\.2000%.*1/r = 500"):
        boosting.check({"objective": "binary"}, rare)
    boosting.check(TrainingConfig().parameters(), rare)
    boosting.check({"objective": "binary", "scale_pos_weight": 50}, rare)
    boosting.check({"objective": "binary"}, history.fraud | (np.arange(len(history)) % 10 == 0))
