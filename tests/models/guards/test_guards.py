from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from models import boosting_start, leakage
from models.frame import Frame
from models.guards import quality
from models.guards.labels import too_good
from models.guards.rejections import Rejections
from models.leakage import LeakageError, Split
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
    """Two weeks of training, one week of label delay, the rest is the test."""
    training = np.flatnonzero(history.event_time < START + 14 * DAY)
    test = np.flatnonzero(history.event_time >= START + 21 * DAY)
    return Split(training, test, known_at=START + 21 * DAY, delay=7)


def test_clean_data_has_no_findings() -> None:
    """A valid file has no findings."""
    assert quality.check(payments()) == []


@pytest.mark.parametrize(
    ("change", "check", "severity"),
    [
        ({"amount": lambda d: d["amount"].where(d.index != 3, -5)}, "range", "error"),
        ({"transaction_id": lambda d: d["transaction_id"].where(d.index != 3, "t4")}, "unique", "error"),
        ({"account_id": lambda d: d["account_id"].where(d.index != 3)}, "type", "error"),
        ({"amount": lambda d: d["amount"] + 0.5}, "type", "error"),
        ({"fraud": lambda d: d["fraud"].astype(object).where(d.index != 3, "maybe")}, "type", "error"),
        ({"event_time": lambda d: d["event_time"] * 3}, "range", "error"),
        ({"event_time": lambda d: d["event_time"].iloc[::-1].to_numpy()}, "order", "error"),
        ({"event_time": lambda d: d["event_time"] + (d.index >= 500) * 3 * DAY}, "gap", "warning"),
        ({"fraud": lambda d: d["amount"] > 0}, "labels", "error"),
        ({"fraud": lambda d: d.index % 3 == 0}, "share", "warning"),
        ({"device_id": lambda d: np.where(d.index < 10, "x", None)}, "missing", "warning"),
        ({"device_id": None, "channel": None}, "absent", "warning"),
    ],
)
def test_every_kind_of_bad_data_is_found(change: dict[str, object], check: str, severity: str) -> None:
    """One fault gives one finding, of the right kind and severity."""
    (finding,) = quality.check(payments().assign(**change))
    assert (finding.check, finding.severity) == (check, severity)
    assert finding.rows > 0


@pytest.mark.parametrize("column", ["transaction_id", "account_id", "event_time", "amount", "fraud"])
def test_a_column_that_is_not_there_is_named(column: str) -> None:
    """The finding names a missing column that training needs."""
    (finding,) = quality.check(payments().drop(columns=column))
    assert (finding.check, finding.severity, finding.column) == ("column", "error", column)


def test_errors_stop_the_training_and_warnings_do_not() -> None:
    """The refusal names the first error."""
    quality.stop_on_errors(quality.check(payments().assign(fraud=lambda d: d["amount"] > 120)))
    with pytest.raises(InputError, match="amount: -1 is negative"):
        quality.stop_on_errors(quality.check(payments().assign(amount=-1)))


def test_an_honest_split_passes(history: Frame) -> None:
    """Training ends before the delay, the test begins after it, and no column reveals the label."""
    leakage.check(history, split(history))


def test_a_label_that_has_not_arrived_is_refused(history: Frame) -> None:
    """The same split a day earlier would use labels of the future."""
    with pytest.raises(LeakageError, match="training labels arrive after"):
        leakage.check(history, replace(split(history), known_at=START + 20 * DAY))


def test_a_random_split_is_refused(history: Frame) -> None:
    """Randomly drawn training rows reach beyond the first test row."""
    rows = np.random.default_rng(0).permutation(len(history))
    with pytest.raises(LeakageError, match="split by time"):
        leakage.check(history, replace(split(history), training=rows[:6_000], test=rows[6_000:]))


def test_rows_that_teach_and_judge_are_refused(history: Frame) -> None:
    """One row in both is enough."""
    honest = split(history)
    with pytest.raises(LeakageError, match="1 rows are in training and test"):
        leakage.check(history, replace(honest, test=np.append(honest.training[:1], honest.test)))


def test_permuted_time_is_refused(history: Frame) -> None:
    """Times that do not rise say nothing about what came before."""
    shuffled = replace(history, event_time=np.random.default_rng(0).permutation(history.event_time))
    with pytest.raises(LeakageError, match="earlier than the row before"):
        leakage.check(shuffled, split(history))


def test_the_target_in_disguise_is_refused(history: Frame) -> None:
    """Under another name it ranks too well; under its own name it is refused however it ranks."""
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
        boosting_start.check({"objective": "binary"}, rare)
    boosting_start.check(TrainingConfig().parameters(), rare)
    boosting_start.check({"objective": "binary", "scale_pos_weight": 50}, rare)
    boosting_start.check({"objective": "binary"}, history.fraud | (np.arange(len(history)) % 10 == 0))


def labelled(rows: int = 10_000) -> pd.DataFrame:
    """Payments of three channels, one in fifty of each a fraud, in random order."""
    rng = np.random.default_rng(0)
    return payments(rows).assign(
        fraud=rng.random(rows) < 0.02,
        channel=np.array(["pos", "ecom", "atm"])[rng.integers(0, 3, rows)],
        balance=rng.integers(0, 1000, rows),
    )


def test_ordinary_labels_have_no_findings() -> None:
    """Frauds everywhere and at all times, and no number that ranks them, are normal."""
    assert quality.check(labelled()) == []


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        ({"fraud": lambda d: d["fraud"] & ((d["channel"] != "atm") | (d.index < 4_000))}, "silence", "last fraud with"),
        ({"fraud": lambda d: d["fraud"] & (d["channel"] != "atm")}, "no-fraud", "rows with channel atm is fraud"),
        ({"channel": lambda d: d["channel"].where(~d["fraud"], "phone")}, "all-fraud", "with channel phone are fraud"),
        ({"fraud": lambda d: d["fraud"] & (d.index < 8_000)}, "silence", "last fraud is on 2018-05-26"),
        ({"fraud": lambda d: d["fraud"] & (d.index >= 2_000)}, "silence", "rows come before it"),
        ({"extra.score": lambda d: d["fraud"] * 5 + d["balance"] / 1000}, "too-good", "extra.score alone ranks"),
        ({"balance": lambda d: 1_000 - d["fraud"] * 900}, "too-good", "balance alone ranks"),
        ({"account_opened_at": lambda d: 1_500_000_000 + d.index}, "unit", "seconds taken for milliseconds"),
    ],
)
def test_labels_that_cannot_be_right_are_found(change: dict[str, object], check: str, said: str) -> None:
    """A category with only frauds or none, labels that end or begin late, and a number that equals the label."""
    found = [f for f in quality.check(labelled().assign(**change)) if f.check == check and said in f.message]
    assert found
    assert all(finding.rows > 0 and finding.severity == "warning" for finding in found)


def test_what_the_mapping_left_out_is_a_finding_by_reason() -> None:
    """They are counted by column and reason with the first examples; when most rows are lost, it is an error."""
    rejections = Rejections()
    for line in range(2, 12):
        rejections.add(line, "Amount", f"$-{line}", "is less than 0")
    rejections.add(40, "", "", "names neither merchant nor payee")
    first, second = rejections.findings(kept=100)
    assert (first.rows, first.column, first.severity, first.check) == (10, "Amount", "warning", "rejected")
    assert first.message == (
        "10 of 111 rows left out: Amount is less than 0, such as line 2 '$-2', line 3 '$-3', line 4 '$-4'"
    )
    assert "the row names neither merchant nor payee, such as line 40" in second.message
    assert [finding.severity for finding in rejections.findings(kept=5)] == ["error", "error"]
    assert Rejections().findings(kept=5) == []


def test_a_result_too_good_to_be_true_is_said() -> None:
    """The limit is an average precision of .99."""
    assert "0.995 is too good to be true" in too_good(0.995)
    assert too_good(0.98) == ""
