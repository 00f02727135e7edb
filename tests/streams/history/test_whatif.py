from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from cli import whatif
from decisions.policy_form import ACTIONS
from decisions.strategy import Strategy
from producers.simulation import Simulation
from producers.simulator import simulate
from streams.bootstrap import load_strategy
from streams.history.whatif import DecisionComparison, compare
from vedette.clock import DAY, format_time
from vedette.money import format_amount

ROOT = Path(__file__).parents[3]
MODEL, POLICY = ROOT / "models" / "demo", ROOT / "decisions" / "policy.yaml"
SIMULATION = Simulation(customers=300, terminals=300, days=12, seed=5, returns=0)


@pytest.fixture(scope="module")
def batches() -> list[pa.RecordBatch]:
    """Twelve simulated days."""
    return list(simulate(SIMULATION))


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that reviews every payment above 50 major units, and nothing else."""
    path = tmp_path_factory.mktemp("policy") / "strict.yaml"
    rule = "{name: large, when: amount > 50, action: review, reason: a large amount}"
    path.write_text(f"format: 1\nname: strict\nversion: 1\nrules: [{rule}]\n", encoding="utf-8")
    return path


def replayed(
    batches: list[pa.RecordBatch], old: Strategy | None, new: Strategy, since: int = 0
) -> tuple[DecisionComparison, pa.Table]:
    """Return the counts of a comparison, and the transactions that change."""
    result = DecisionComparison()
    return result, pa.Table.from_batches(compare(batches, old, new, result, since=since))


def test_the_same_judge_changes_nothing(batches: list[pa.RecordBatch]) -> None:
    """Compared with itself, a model and policy change no decision and have one and the same record."""
    strategy = load_strategy(MODEL, POLICY)
    result, changed = replayed(batches, strategy, strategy)
    assert result.transactions == sum(len(batch) for batch in batches)
    assert result.moves == {}
    assert len(changed) == 0
    assert result.old == result.new


def test_every_changed_decision_is_listed_and_counted(
    batches: list[pa.RecordBatch], strict: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each transaction whose action differs is listed once; counts, precision and missed money agree with the list."""
    result, changed = replayed(batches, load_strategy(MODEL, POLICY), load_strategy(MODEL, strict))
    listed = changed.to_pylist()
    assert len(listed) == result.moves.total() > 0
    assert len({row["transaction_id"] for row in listed}) == len(listed)
    for move, times in result.moves.items():
        old, new = move.split(" → ")
        rows = [row for row in listed if (row["old_action"], row["new_action"]) == (old, new)]
        assert len(rows) == times
        assert sum(row["amount"] for row in rows) == result.money[move]["EUR"]
        assert new in {"review", "approve"}
        assert all((row["amount"] > 5000) == (new == "review") for row in rows)
    everything = pa.Table.from_batches(batches).to_pylist()
    large = [row for row in everything if row["amount"] > 5000]
    assert result.new.flagged == len(large)
    assert result.new.alerts == Counter(format_time(row["event_time"])[:10] for row in large)
    lost = sum(row["amount"] for row in everything if row["fraud"] and row["amount"] <= 5000)
    assert result.new.lost["EUR"] == lost
    caught = sum(row["fraud"] for row in large)
    whatif._show(result)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("new: "))
    assert f"precision {caught / len(large):.1%}, fraud not flagged {format_amount(lost, 'EUR')}" in line


def test_decisions_before_the_stretch_only_build_state(batches: list[pa.RecordBatch], strict: Path) -> None:
    """Comparing from a day on gives the same as comparing everything, for the transactions from that day on."""
    since = SIMULATION.start + 7 * DAY
    old, new = load_strategy(MODEL, POLICY), load_strategy(MODEL, strict)
    _, everything = replayed(batches, old, new)
    _, stretch = replayed(batches, old, new, since)
    assert stretch.to_pylist() == [row for row in everything.to_pylist() if row["event_time"] >= since] != []


def test_decisions_of_the_past(batches: list[pa.RecordBatch], strict: Path) -> None:
    """The old side is what was decided then, and transactions without a decision are only counted."""
    new = load_strategy(MODEL, strict)
    recorded = []
    for batch in batches:
        actions = pa.array([None if row % 5 == 0 else row % 5 - 1 for row in range(len(batch))], pa.int8())
        scores = pa.array([row / len(batch) for row in range(len(batch))])
        recorded.append(batch.append_column("recorded_action", actions).append_column("recorded_score", scores))
    result, changed = replayed(recorded, None, new)
    everything = pa.Table.from_batches(recorded).to_pylist()
    decided = [row for row in everything if row["recorded_action"] is not None]
    assert (result.transactions, result.undecided) == (len(decided), len(everything) - len(decided))
    assert result.old.flagged == sum(row["recorded_action"] > 0 for row in decided)
    expected = {
        row["transaction_id"]: (ACTIONS[row["recorded_action"]], row["recorded_score"])
        for row in decided
        if ACTIONS[row["recorded_action"]] != ("review" if row["amount"] > 5000 else "approve")
    }
    assert {row["transaction_id"]: (row["old_action"], row["old_score"]) for row in changed.to_pylist()} == expected
