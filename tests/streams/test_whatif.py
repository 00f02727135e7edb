from pathlib import Path

import pyarrow as pa
import pytest

from producers.simulation import Simulation
from producers.simulator import simulate
from streams.bootstrap import load_judge
from streams.whatif import Comparison, compare
from vedette.clock import DAY

ROOT = Path(__file__).parents[2]
MODEL, POLICY = ROOT / "models" / "demo", ROOT / "streams" / "policy.yaml"
SIMULATION = Simulation(customers=300, terminals=300, days=12, seed=5)


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


def test_the_same_judge_changes_nothing(batches: list[pa.RecordBatch]) -> None:
    """Compared with itself, a model and policy change no decision and have one and the same record."""
    judge = load_judge(MODEL, POLICY)
    result = compare(batches, judge, judge)
    assert result.transactions == sum(len(batch) for batch in batches)
    assert result.moves == {}
    assert result.changed == []
    assert result.old == result.new


def test_every_changed_decision_is_listed_and_counted(batches: list[pa.RecordBatch], strict: Path) -> None:
    """Each transaction whose action differs is listed once, and the counts by action and money agree with the list."""
    result = compare(batches, load_judge(MODEL, POLICY), load_judge(MODEL, strict))
    listed = pa.Table.from_batches(result.changed).to_pylist()
    assert len(listed) == sum(result.moves.values()) > 0
    assert len({row["transaction_id"] for row in listed}) == len(listed)
    for move, times in result.moves.items():
        old, new = move.split(" → ")
        rows = [row for row in listed if (row["old_action"], row["new_action"]) == (old, new)]
        assert len(rows) == times
        assert sum(row["amount"] for row in rows) == result.money[move]["EUR"]
        assert new in {"review", "approve"}
        assert all((row["amount"] > 5000) == (new == "review") for row in rows)
    everything = pa.Table.from_batches(batches)
    assert result.new.flagged == sum(amount > 5000 for amount in everything.column("amount").to_pylist())


def test_decisions_before_the_stretch_only_build_state(batches: list[pa.RecordBatch], strict: Path) -> None:
    """Comparing from a day on gives what comparing everything gives for the transactions from that day on."""
    since = SIMULATION.start + 7 * DAY
    old, new = load_judge(MODEL, POLICY), load_judge(MODEL, strict)

    def changed(result: Comparison) -> list[dict[str, object]]:
        return [row for batch in result.changed for row in batch.to_pylist() if row["event_time"] >= since]

    assert changed(compare(batches, old, new, since=since)) == changed(compare(batches, old, new))
