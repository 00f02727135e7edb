import json
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli.main import app
from models import zoo
from models.compare import figures, run, source, spec
from models.frame import Frame
from models.protocol import Protocol
from models.zoo import ModelEntry
from producers.simulation import HANDBOOK
from vedette.clock import DAY
from vedette.errors import InputError

START = 1_522_540_800_000
SMALL = ModelEntry(model="vedette", parameters={"trees": 20, "least_rows_in_leaf": 20})


def command(*arguments: str) -> str:
    """Run the command to its end and return what it printed."""
    result = CliRunner().invoke(app, ("compare", *arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def clock() -> float:
    """A clock that stands still."""
    return 0.0


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 6,000 payments with separable frauds, in the form of the ULB file."""
    rng = np.random.default_rng(3)
    rows = 6_000
    v1, v2 = rng.normal(size=(2, rows))
    fraud = (v1 > 1.5) & (rng.random(rows) < 0.5)
    columns = {"Time": np.arange(rows, dtype=float), "V1": v1, "V2": v2, "Amount": rng.gamma(2, 40, rows).round(2)}
    path = tmp_path_factory.mktemp("cards") / "cards.parquet"
    pq.write_table(pa.table({**columns, "Class": fraud.astype(np.int8)}), path)
    return path


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A custom protocol for such tables."""
    path = tmp_path_factory.mktemp("protocol") / "cards.toml"
    path.write_text(
        """
        kind = "table"
        columns = { time = "Time", amount = "Amount", label = "Class" }
        published = [{ model = "logistic_regression", auc = 0.9, ap = 0.5 }]

        [[entries]]
        model = "logistic_regression"

        [[entries]]
        model = "xgboost"
        imbalance = "smote"
        parameters = { n_estimators = 20 }
        """,
        encoding="utf-8",
    )
    return path


@pytest.mark.runs("compare")
def test_a_protocol_file_gives_a_table_a_report_and_json(cards: Path, protocol: Path, tmp_path: Path) -> None:
    """All entries are evaluated, the published figure is below them, and a second run reads the results."""
    report = tmp_path / "report.html"
    arguments = ("--protocol", str(protocol), "--train", str(cards), "--cache", str(tmp_path / "cache"),
                 "--report", str(report), "--json")  # fmt: skip
    first, second = command(*arguments), command(*arguments)
    rows = json.loads(first.splitlines()[-1])["rows"]
    assert [(row["model"], row["imbalance"]) for row in rows] == [("logistic_regression", "none"), ("xgboost", "smote")]
    for row in rows:
        assert row["auc"] > 0.9
        assert row["cp100"] is None
        assert row["intervals"]["ap"][0] <= row["ap"] <= row["intervals"]["ap"][1]
    assert re.search(r"published +0\.900 +0\.500", first)
    assert first.splitlines()[-1] == second.splitlines()[-1]
    page = report.read_text(encoding="utf-8")
    assert "Plotly.newPlot" in page
    assert not re.search(r"<script[^>]+src=", page)


def test_rows_are_shown_as_they_are_done_and_those_that_cannot_run_are_left_out(
    cards: Path, protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row without its package is left out with the reason before all others; these are shown one by one."""
    monkeypatch.setitem(sys.modules, "imblearn", None)
    arguments = ("--protocol", str(protocol), "--train", str(cards), "--cache", str(tmp_path / "cache"),
                 "--report", str(tmp_path / "r.html"), "--json")  # fmt: skip
    result = CliRunner().invoke(app, ("compare", *arguments), catch_exceptions=False)
    notes = [line for line in result.stderr.splitlines() if line.strip()]
    assert notes[0].startswith("left out: xgboost + smote: imblearn is not installed: pip install")
    assert re.search(r"logistic_regression: AUC 0\.\d{3}, AP", " ".join(result.stderr.split()))
    (row,) = json.loads(result.stdout.splitlines()[-1])["rows"]
    assert row["model"] == "logistic_regression"


def test_an_interruption_shows_what_is_done(
    cards: Path, protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second row leaves the table of the first, code 130, and the next run continues."""
    fit = zoo.fit

    def interrupted(entry: ModelEntry, *arguments: object, **options: object) -> object:
        if entry.model == "xgboost":
            raise KeyboardInterrupt
        return fit(entry, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(zoo, "fit", interrupted)
    arguments = ("compare", "--protocol", str(protocol), "--train", str(cards), "--cache", str(tmp_path / "cache"),
                 "--report", str(tmp_path / "r.html"))  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 130
    assert "interrupted after 1 of 2 rows" in result.stderr
    assert "logistic_regression" in result.stdout
    monkeypatch.setattr(zoo, "fit", fit)
    assert "xgboost + smote" in command(*arguments[1:])


def test_train_and_test_may_be_two_files(cards: Path, protocol: Path, tmp_path: Path) -> None:
    """The test rows are exactly those of the second file."""
    whole = pq.read_table(cards)
    early, late = tmp_path / "early.parquet", tmp_path / "late.parquet"
    pq.write_table(whole.slice(0, 5_000), early)
    pq.write_table(whole.slice(5_000), late)
    out = command("--protocol", str(protocol), "--models", "logistic_regression", "--train", str(early),
                  "--test", str(late), "--cache", str(tmp_path), "--report", str(tmp_path / "r.html"),
                  "--json")  # fmt: skip
    (row,) = json.loads(out.splitlines()[-1])["rows"]
    assert (row["training_rows"], row["rows"]) == (5_000, 1_000)


@pytest.mark.slow
def test_transactions_of_later_weeks_are_judged_on_the_folds_asked_for(tmp_path: Path) -> None:
    """A file of any length goes through the feature kernel, with folds at any place."""
    file = tmp_path / "payments.parquet"
    frauds = (f"--scenario={name}" for name in HANDBOOK)
    simulate = ("simulate", "--customers", "200", "--days", "30", "--seed", "5", *frauds, "--output", str(file))
    CliRunner().invoke(app, simulate)
    own = tmp_path / "own.toml"
    own.write_text(
        'kind = "stream"\nmapping = "vedette"\n[[entries]]\nmodel = "vedette"\nparameters = { trees = 20 }\n'
    )
    out = command("--protocol", str(own), "--transactions", str(file), "--train-start", "2018-04-07,2018-04-10",
                  "--cache", str(tmp_path), "--report", str(tmp_path / "r.html"), "--json")  # fmt: skip
    (row,) = json.loads(out.splitlines()[-1])["rows"]
    assert [case["case"] for case in row["cases"]] == ["2018-04-07", "2018-04-10"]
    assert row["cp100"] > 0
    assert {"large_amount", "compromised_terminal", "compromised_card"} <= set(row["scenarios"])
    assert row["scenarios"]["large_amount"] > row["scenarios"]["compromised_terminal"]
    assert "share of each scenario's frauds that is flagged" in out


def test_the_published_protocols_are_valid() -> None:
    """Both files load, and every model they publish figures of has an entry."""
    for name in spec.KNOWN:
        known = spec.load(name)
        assert {row.model for row in known.published} <= {entry.model for entry in known.entries}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--protocol", "nowhere.toml"), "cannot be read"),
        (("--models", "oracle"), "no entry for 'oracle'"),
        (("--transactions", "nowhere.parquet"), r"nowhere\.parquet cannot be read"),
        (("--protocol", "ulb", "--test", "b.parquet"), "--test requires --train"),
        (("--scheduler", "tcp://127.0.0.1:1"), "--scheduler requires --engine dask"),
    ],
)
def test_a_wrong_call_is_said_in_a_sentence(arguments: tuple[str, ...], message: str) -> None:
    """Every mistake is an InputError."""
    with pytest.raises(InputError, match=message):
        command(*arguments)


def test_transactions_without_labels_are_counted_in_the_refusal(tmp_path: Path) -> None:
    """Where nothing can be compared, the error says how many transactions there were."""
    columns = {"account_id": ["a"], "event_time": [START], "amount": [1], "scenario": pa.nulls(1, pa.string())}
    unknown = {"fraud": pa.nulls(1, pa.bool_()), "labelled_at": pa.nulls(1, pa.int64())}
    batch = pa.RecordBatch.from_pydict(columns | unknown)
    with pytest.raises(InputError, match="none of 2 transactions has a label"):
        source.keep(tmp_path, [batch, batch], ("amount",))


def case_of(history: Frame) -> source.Case:
    """The history's one fold."""
    return source.stream_cases(history, Protocol(folds=1), (), "data")[0]


def test_a_fold_outside_of_the_data_is_refused(history: Frame) -> None:
    """A requested fold is never silently left out."""
    with pytest.raises(InputError, match="needs 21 days"):
        source.stream_cases(history, Protocol(), (START + 20 * DAY,), "data")


def test_history_reaches_back_from_the_training_end(history: Frame) -> None:
    """Seven days of history are the last seven before the end."""
    case = case_of(history)
    times = history.event_time[case.history(7)]
    assert case.training_end - 7 * DAY <= times.min()
    assert times.max() < case.training_end
    assert len(case.history(0)) > len(case.history(7))


def test_a_result_is_read_again_only_for_the_same_question(history: Frame, tmp_path: Path) -> None:
    """A changed entry, seed or data gives a new result; a broken file is computed again."""
    case = case_of(history)
    evaluate = run.Evaluator(tmp_path, contact_cost=500, clock=clock)
    first = evaluate(SMALL, case)
    (file,) = tmp_path.iterdir()
    assert evaluate(SMALL, case) == first
    run.Evaluator(tmp_path, contact_cost=500, clock=clock, seed=1)(SMALL, case)
    evaluate(ModelEntry(model="vedette", parameters={"trees": 21, "least_rows_in_leaf": 20}), case)
    assert len(list(tmp_path.iterdir())) == 3
    file.write_bytes(b"\x81")
    assert evaluate(SMALL, case) == first


def test_the_bootstrap_covers_the_figure(history: Frame, tmp_path: Path) -> None:
    """AUC and AP lie within the range of their replicates, and replicates differ."""
    outcome = run.Evaluator(tmp_path, contact_cost=500, clock=clock)(SMALL, case_of(history)).outcome
    low, high = figures.intervals([outcome])["ap"]
    assert low < outcome.figures.ap < high
    low, high = figures.intervals([outcome])["auc"]
    assert low < outcome.figures.auc < high
