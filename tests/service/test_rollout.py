import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from bench.environment import wait_until
from bench.faults.deployment import PATIENCE_S, Deployment
from bench.faults.stream import Stream, StreamMessage
from cli.main import app
from decisions.rollout import in_rollout
from models.registry import Registry
from models.registry import promotion as changes
from models.registry.model_card_store import register
from models.scorer import Scorer, load_scorer
from producers.frame import rows_to_labels, rows_to_transactions
from producers.simulation import Simulation
from producers.simulator import simulate
from stack.state import StackState
from streams.control_publisher import publish
from streams.history.feature_log import FeatureLog, read_labels, read_log
from streams.history.model_monitor import rows_for
from tests.conftest import ROOT, SettingsFor
from vedette.control import ModelRef, Models, RolloutGuardrail
from vedette.events import Decision
from vedette.settings import RegistrySettings, Settings
from vedette.settings_page import describe
from vedette.topics import Name

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WHO = {"approver": "Ada", "reason": "to see", "at": 1}
_GUARD = RolloutGuardrail(max_alert_ratio=1_000.0)
_PHASES = 6


@pytest.fixture(scope="module")
def challenger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose scores differ from those of the one that ships."""
    folder = tmp_path_factory.mktemp("challenger") / "model"
    arguments = ["train", "--simulate", "--customers", "200", "--days", "28", "--name", "next", "--output", str(folder)]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def phases() -> list[list[StreamMessage]]:
    """A stream of some 12,000 payments in six parts, with the labels known by then."""
    config = Simulation(customers=220, terminals=80, days=40, seed=11, returns=0)  # which no model scores
    frame = pa.Table.from_batches(simulate(config)).combine_chunks().to_batches()[0]
    encode = msgspec.json.encode
    sent = [
        (
            payment.event_time,
            StreamMessage(Name.TRANSACTIONS, payment.account_id.encode(), encode(payment), payment.transaction_id),
        )
        for payment in rows_to_transactions(frame)
    ]
    newest = sent[-1][0]
    sent += [
        (label.labelled_at, StreamMessage(Name.LABELS, label.account_id.encode(), encode(label)))
        for label in rows_to_labels(frame, "simulator")
        if label.labelled_at <= newest
    ]
    sent.sort(key=lambda one: one[0])
    edges = np.linspace(0, len(sent), _PHASES + 1).astype(int).tolist()
    return [[message for _, message in sent[a:b]] for a, b in pairwise(edges)]


@pytest.fixture(scope="module")
def settings(
    embedded_stack: StackState, settings_for: SettingsFor, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """A deployment with a separate registry, and small batches."""
    directory = tmp_path_factory.mktemp("rollout")
    settings = settings_for(embedded_stack, f"{directory.name}-")
    worker = msgspec.structs.replace(settings.worker, batch_max=200)
    registry = RegistrySettings(
        url=f"sqlite:///{directory}/registry.sqlite",
        artifacts=str(directory / "artifacts"),
        served=str(directory / "served"),
    )
    return msgspec.structs.replace(settings, worker=worker, registry=registry)


@pytest.fixture(scope="module")
def deployment(
    embedded_stack: StackState, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Its topics and workers."""
    made = Deployment(embedded_stack, settings, Stream([], []), tmp_path_factory.mktemp("deployment"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def lived(
    deployment: Deployment, settings: Settings, phases: list[list[StreamMessage]], challenger: Path
) -> tuple[ModelRef, ModelRef]:
    """A stream that never stops while a challenger shadows, decides for a fifth, is promoted and rolled back."""
    registry = Registry(settings.registry)
    old, new = (register(registry, folder, 0) for folder in (ROOT / "models/demo", challenger))
    worker = deployment.worker()
    wait_until(lambda: worker.ready, PATIENCE_S, "the worker")
    obeyed = len(worker.events("in force"))

    def change(models: Models, phase: list[StreamMessage]) -> None:
        """The change takes place while payments arrive; some arrive after it as well."""
        nonlocal obeyed
        third = len(phase) // 3
        deployment.publish(phase[:third])
        publish(settings, models)
        deployment.publish(phase[third : 2 * third])
        obeyed += 1
        wait_until(lambda: len(worker.events("in force")) == obeyed, PATIENCE_S, "the change")
        deployment.publish(phase[2 * third :])
        deployment.finish()

    deployment.publish(phases[0])
    change(changes.promote(registry, old, **WHO), phases[1])
    change(changes.start_trial(registry, new, 0.0, _GUARD, **WHO), phases[2])
    change(changes.start_trial(registry, registry.find("2"), 0.2, _GUARD, **WHO), phases[3])
    change(changes.promote(registry, registry.find("2"), **WHO), phases[4])
    missing = msgspec.structs.replace(old.ref, version="00000000", name="missing")
    publish(settings, Models(champion=missing, **WHO))
    wait_until(lambda: "missing@00000000" in worker.get("/healthz")[1], PATIENCE_S, "the refusal")
    change(changes.rollback(registry, **WHO), phases[5])
    assert "refused" not in worker.get("/healthz")[1]
    assert worker.metric("vedette_model_refused_total") == 1
    return old.ref, new.ref


@pytest.fixture(scope="module")
def decisions(deployment: Deployment, lived: tuple[ModelRef, ModelRef]) -> list[Decision]:
    """Return every decision, in order within each partition."""
    del lived
    return [
        msgspec.json.decode(message.value(), type=Decision) for message in deployment.topics.messages(Name.DECISIONS)
    ]


@pytest.fixture(scope="module")
def log(settings: Settings, lived: tuple[ModelRef, ModelRef]) -> FeatureLog:
    """Return the feature log."""
    del lived
    return read_log(settings, 0)


@pytest.fixture(scope="module")
def scorers(challenger: Path) -> dict[str, Scorer]:
    """Return both models by version."""
    return {scorer.version: scorer for scorer in (load_scorer(ROOT / "models/demo"), load_scorer(challenger))}


def test_no_payment_is_lost_or_decided_twice(deployment: Deployment, decisions: list[Decision]) -> None:
    """Through four changes and a refusal every payment got one decision."""
    made = [decision.transaction_id for decision in decisions]
    assert len(made) == len(set(made))
    assert set(made) == deployment.published.transactions


def test_every_decision_is_of_the_version_it_names(
    decisions: list[Decision], log: FeatureLog, scorers: dict[str, Scorer]
) -> None:
    """Scored again by the version that a decision names, its features give exactly its score, to the last bit."""
    models = {decision.transaction_id: decision for decision in decisions}
    identities = log.table["transaction_id"].to_pylist()
    assert set(identities) == set(models)
    again = {version: scorer.predict(rows_for(scorer, log)) for version, scorer in scorers.items()}
    named = [models[identity].model for identity in identities]
    assert {*named} == {*scorers}
    assert log.table["model"].to_pylist() == named
    for row, identity in enumerate(identities):
        assert models[identity].score == again[named[row]][row]


def test_the_challenger_decided_for_its_accounts_alone(log: FeatureLog, lived: tuple[ModelRef, ModelRef]) -> None:
    """In shadow mode it decided for no account, and in the rollout for a fifth of the accounts, always the same."""
    role, other = log.column("role").astype(str), log.column("shadow_model").astype(str)
    chosen = in_rollout(log.table["account_id"].combine_chunks(), str(lived[1]), 0.2)
    by_challenger = role == "challenger"
    assert by_challenger.any()
    assert not (by_challenger & ~chosen).any()
    assert (other != "").sum() > by_challenger.sum() * 3
    shadow = (other == str(lived[1])) & chosen
    assert shadow.any(), "before the rollout the same accounts were decided by the champion"


def test_promotion_and_rollback_take_effect(
    decisions: list[Decision], phases: list[list[StreamMessage]], lived: tuple[ModelRef, ModelRef]
) -> None:
    """Every payment sent after a change took effect is decided by it: in the shadow, promoted, rolled back."""
    old, new = map(str, lived)
    made = {decision.transaction_id: decision.model for decision in decisions}
    for phase, version in ((phases[1], old), (phases[2], old), (phases[4], new), (phases[5], old)):
        after = [message.transaction_id for message in phase[2 * (len(phase) // 3) :] if message.transaction_id]
        assert {made[identity] for identity in after} == {version}


@pytest.mark.runs("models trial report", "drift", "retrain", "features skew")
def test_what_the_stream_saw_is_reported(settings: Settings, log: FeatureLog, tmp_path: Path) -> None:
    """Trial report, drift with its page, and a retraining with its proposal all come from the topics of that stream."""
    file = tmp_path / "vedette.toml"
    file.write_text(describe(settings), encoding="utf-8")

    def run(*arguments: str) -> dict[str, object]:
        result = CliRunner().invoke(app, ["--settings", str(file), *arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0
        found: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
        return found

    compared = msgspec.convert(run("models", "trial", "report"), dict[str, msgspec.Raw | object])
    assert compared["champion"]["model"].startswith("demo@")  # type: ignore[index]
    assert compared["challenger"]["accounts"] > 10  # type: ignore[index]
    page = tmp_path / "drift.html"
    seen = run("drift", "--model", "champion", "--window", "3", "--html", str(page))
    assert seen["drift"][0]["name"] == "score"  # type: ignore[index]
    assert sum(week["payments"] for week in seen["weeks"]) == len(log.table)  # type: ignore[attr-defined]
    assert page.stat().st_size > 100_000
    assert run("features", "skew")["payments"] == len(log.table)
    proposed = run("retrain", "--output", str(tmp_path / "next"))
    assert proposed["number"] == 3
    assert load_scorer(tmp_path / "next").version == proposed["model"]
    comparison = proposed["comparison"]
    assert comparison["low"] <= comparison["difference"] <= comparison["high"]  # type: ignore[index]
    assert read_labels(settings)
