import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from models.compare import run
from models.compare.figures import measure
from models.compare.scenarios import by_scenario
from models.compare.source import SCENARIO, Case
from models.frame import Frame

ROWS = 4_000


def case(scenario: list[str], fraud: list[bool]) -> Case:
    """A test whose first rows have these scenarios; all others are everyday payments."""
    names = np.array(scenario + [""] * (ROWS - len(scenario)))
    truth = np.array(fraud + [False] * (ROWS - len(fraud)))
    frame = Frame(
        names=("score",), matrix=np.zeros((ROWS, 1)), account=np.arange(ROWS), event_time=np.arange(ROWS),
        amount=np.full(ROWS, 100), fraud=truth, labelled_at=np.arange(ROWS), groups={SCENARIO: names},
    )  # fmt: skip
    rows = np.arange(ROWS)
    return Case("one", frame, rows, rows, cards=True, digest="", delay=7, training_end=0)


def test_each_scenario_has_its_recall_and_each_look_alike_its_false_alarms() -> None:
    """At 0.1 % four of 4,000 honest payments may be flagged, at 0.5 % twenty; look-alikes are among them."""
    scenario = ["ring"] * 4 + ["scam"] * 2 + ["ticket_sale"] * 10
    one = case(scenario, [True] * 6)
    score = np.linspace(0.3, 0.0, ROWS)
    score[:16] = [0.9, 0.9, 0.9, 0.5, 0.5, 0.1, *[0.8] * 3, *[0.6] * 2, *[0.01] * 5]
    measured, replicates = measure(
        one.frame, score, threshold=0.85, contact_cost=500, cards=False, fit_s=0, predict_s=0, training_rows=1
    )
    outcome = run.CaseFigures(case="one", figures=measured, replicates=replicates, importance={})
    found = by_scenario([run.CaseResult(outcome=outcome, score=score.tolist())], [one])
    assert list(found) == ["ring", "scam", "ticket_sale"]
    assert (found["ring"].at_threshold, found["ring"].at_fpr_01, found["ring"].at_fpr_05) == (0.75, 0.75, 1)
    assert (found["scam"].at_threshold, found["scam"].at_fpr_01, found["scam"].at_fpr_05) == (0, 0, 0.5)
    assert not found["ticket_sale"].fraud
    assert found["ticket_sale"].at_fpr_01 == pytest.approx(0.3)
    assert found["ticket_sale"].at_fpr_05 == pytest.approx(0.5)


@pytest.mark.slow
def test_a_protocol_can_simulate_its_payments(tmp_path: Path) -> None:
    """Without a file, the protocol's simulation is what is compared, by scenario."""
    protocol = tmp_path / "small.toml"
    protocol.write_text(
        """
        kind = "stream"
        mapping = "vedette"
        simulated = { customers = 1500, terminals = 800, days = 12, seed = 2 }
        folds = { training = 8, delay = 1, test = 3, number = 1 }

        [[entries]]
        model = "vedette"
        parameters = { trees = 5 }
        """,
        encoding="utf-8",
    )
    arguments = ("compare", "--protocol", str(protocol), "--cache", str(tmp_path / "cache"), "--json")
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout.splitlines()[-1])["rows"]
    assert row["by_scenario"]["large_amount"]["fraud"]
    assert not row["by_scenario"]["family_device"]["fraud"]
    assert "family device" in result.stdout
