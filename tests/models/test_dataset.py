"""Statistics of a data set, the page that shows them, and what a version of the model makes of it."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from cli.main import app
from models.dataset.explained import explain
from models.dataset.statistics import DatasetStatistics, describe
from models.drift import MOVED, MOVING
from models.offline import score
from models.scorer import Scorer, load_scorer
from producers.simulation import Simulation
from producers.simulator import simulate
from tests.conftest import ROOT
from vedette.clock import DAY, HOUR
from vedette.errors import InputError

MONDAY = 1_699_833_600_000
"""2023-11-13, the first of the three weeks."""


@pytest.fixture(scope="module")
def payments() -> pa.Table:
    """Three weeks of payments; in the last one amounts are ten times as large, and a fifth has no label."""
    rng = np.random.default_rng(1)
    n = 3_000
    time = np.sort(MONDAY + rng.integers(0, 21 * DAY, n))
    fraud = rng.random(n) < 0.05
    amount = np.round(rng.lognormal(3, 1, n) * 100).astype(np.int64) * np.where(time >= MONDAY + 14 * DAY, 10, 1)
    return pa.table(
        {
            "transaction_id": [f"t{number}" for number in range(n)],
            "account_id": [f"secret-{number % 100}" for number in range(n)],
            "amount": amount,
            "currency": ["EUR"] * (n - 10) + ["JPY"] * 10,
            "event_time": time,
            "channel": pa.array([None if number % 4 == 0 else "ecom" for number in range(n)], pa.string()),
            "fraud": pa.array([None if number % 5 == 0 else bool(fraud[number]) for number in range(n)], pa.bool_()),
            "extra.risk": rng.normal(0, 1, n) + 2 * fraud,
        }
    )


@pytest.fixture(scope="module")
def statistics(payments: pa.Table) -> DatasetStatistics:
    """Their statistics."""
    return describe(payments)


def test_figures_are_those_of_the_definitions(payments: pa.Table, statistics: DatasetStatistics) -> None:
    """Counts, missing values, quantiles, outliers, correlation and AUC as other libraries compute them."""
    rows = payments.to_pandas()
    known = rows[rows["fraud"].notna()]
    frauds = int(known["fraud"].sum())
    assert (statistics.payments, statistics.accounts, statistics.labelled) == (3000, 100, len(known))
    assert statistics.frauds == frauds
    assert statistics.imbalance == (len(known) - frauds) / frauds
    numbers = {one.name: one for one in statistics.numbers}
    risk, amount = numbers["extra.risk"], numbers["amount"]
    truth = known["fraud"].to_numpy(bool)
    assert risk.auc == pytest.approx(roc_auc_score(truth, known["extra.risk"]))
    assert risk.correlation == pytest.approx(np.corrcoef(truth, known["extra.risk"])[0, 1])
    euros = rows["amount"][rows["currency"] == "EUR"] / 100
    assert amount.missing == pytest.approx(10 / 3000), "other currencies are not mixed in"
    assert amount.quantiles[3] == euros.median()
    low, high = euros.quantile(0.25), euros.quantile(0.75)
    assert amount.outliers == ((euros > high + 1.5 * (high - low)) | (euros < low - 1.5 * (high - low))).mean()
    assert sum(amount.honest) + sum(amount.fraud) == len(euros)
    texts = {one.name: one for one in statistics.texts}
    assert (texts["channel"].missing, texts["channel"].distinct) == (0.25, 1)
    assert {group.value: group.payments for group in texts["channel"].groups} == {"ecom": 2250, "missing": 750}
    assert (texts["account_id"].distinct, texts["account_id"].groups) == (100, [])


def test_amounts_by_hour_and_class(payments: pa.Table, statistics: DatasetStatistics) -> None:
    """Each hour of the day has the median of each class."""
    rows = payments.to_pandas().query("currency == 'EUR'")
    for one in statistics.hours:
        of_class = rows["fraud"].eq(True) == one.fraud
        inside = rows[(rows["event_time"] % DAY // HOUR == one.hour) & of_class]
        assert one.payments == len(inside)
        assert one.quantiles[2] == pytest.approx(inside["amount"].median() / 100)
    assert sum(one.payments for one in statistics.hours) == len(rows)


def test_drift_shows_where_it_began(statistics: DatasetStatistics) -> None:
    """Amounts move in the last week, hours do not, and the weeks have all payments."""
    assert [week.start for week in statistics.weeks] == [MONDAY + 7 * DAY * number for number in range(3)]
    assert sum(week.payments for week in statistics.weeks) == 3000
    first, second, last = (week.drift["amount"] for week in statistics.weeks)
    assert max(first, second) < MOVING
    assert last > MOVED
    assert all(week.drift["hour"] < MOVED for week in statistics.weeks)


def test_nothing_to_describe() -> None:
    """No rows are an error, not an empty page."""
    with pytest.raises(InputError, match="no payment to describe"):
        describe(pa.table({}))


@pytest.fixture(scope="module")
def simulated() -> list[pa.RecordBatch]:
    """Simulated payments."""
    return list(simulate(Simulation(customers=200, terminals=100, days=10, seed=2)))


@pytest.fixture(scope="module")
def demo() -> Scorer:
    """The model that ships."""
    return load_scorer(ROOT / "models/demo")


def test_importance_and_partial_dependence(simulated: list[pa.RecordBatch], demo: Scorer) -> None:
    """Shares are ranked; a dependence is the mean probability with the value put in."""
    found = explain(demo, simulated)
    fractions = [one.fraction for one in found.importance]
    assert fractions == sorted(fractions, reverse=True)
    assert 0.5 < sum(fractions) <= 1
    assert [one.feature for one in found.dependence] == [one.feature for one in found.importance][:12]
    assert found.payments == min(sum(len(part.rows) for part in score(demo, simulated, explain="none")), 20_000)
    amount = next(one for one in found.dependence if one.feature == "amount_to_typical")
    assert amount.probability[-1] > 1.3 * amount.probability[0], "an unusual amount is suspicious"
    rows = np.concatenate([part.rows for part in score(demo, simulated, explain="none")])
    rows[:, demo.column("amount_to_typical")] = amount.values[-1]
    assert amount.probability[-1] == pytest.approx(demo.predict(rows).mean(), rel=0.25), "500 rows stand for all"


class Resources(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.headings: list[str] = []
        self._in_heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address of a resource."""
        self.found += [value or "" for name, value in attrs if name in {"src", "href"}]
        self._in_heading = tag == "h2"

    def handle_data(self, data: str) -> None:
        """Note a heading."""
        if self._in_heading:
            self.headings.append(data)
            self._in_heading = False


@pytest.mark.runs("describe")
def test_the_page_needs_nothing_else_and_names_nobody(simulated: list[pa.RecordBatch], tmp_path: Path) -> None:
    """It loads nothing, has every part, and has no id of an account, device or payment."""
    table = pa.Table.from_batches(simulated)
    pq.write_table(table, tmp_path / "payments.parquet")
    page = tmp_path / "page.html"
    arguments = (
        "describe",
        str(tmp_path / "payments.parquet"),
        "--html",
        str(page),
        "--model",
        str(ROOT / "models/demo"),
    )
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    whole = json.loads(done.stdout)
    assert whole["statistics"]["payments"] == len(table)
    assert whole["model"]["model"].startswith("demo@")
    text = page.read_text()
    seen = Resources()
    seen.feed(text)
    assert seen.found == []
    for part in (
        "Amounts by hour and class",
        "Relation to fraud",
        "Drift over weeks",
        "Partial dependence",
        "Importance",
    ):
        assert any(part in heading for heading in seen.headings), part
    for name in ("account_id", "device_id", "transaction_id"):
        assert f'"{table[name][0].as_py()}"' not in text
        assert f">{table[name][0].as_py()}<" not in text
