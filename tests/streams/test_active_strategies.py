import shutil
from pathlib import Path

import msgspec
import pytest

from decisions.policy_record import policy_files, policy_record
from decisions.rollout import BatchDecision, FlagCount, Rollout
from decisions.strategy import Strategy
from models.registry.model_cache import contract_sha256, copy, keep
from streams.active_strategies import ActiveStrategies
from streams.history.control_state import ControlState
from streams.history.strategy_in_force import strategy_in_force
from streams.metrics import Metrics
from tests.conftest import ROOT
from vedette import Settings, SystemClock
from vedette.control import BY_GUARDRAIL, ModelRef, Models, RolloutGuardrail
from vedette.errors import InputError
from vedette.settings import RegistrySettings

WHO = {"approver": "Ada", "reason": "because", "at": 1}


@pytest.fixture
def settings(tmp_path: Path) -> RegistrySettings:
    """A registry without entries; what is in force comes from copies alone."""
    return RegistrySettings(url=f"sqlite:///{tmp_path}/none.sqlite", served=str(tmp_path / "served"))


@pytest.fixture
def versions(settings: RegistrySettings, tmp_path: Path) -> tuple[ModelRef, ModelRef]:
    """Two served versions: the shipped model under two names."""
    made = []
    for name in ("old", "new"):
        folder = tmp_path / name
        shutil.copytree(ROOT / "models/demo", folder)
        contract = folder / "contract.json"
        contract.write_text(contract.read_text().replace('"name": "demo"', f'"name": "{name}"'))
        version = msgspec.json.decode(contract.read_bytes())["version"]
        made.append(ModelRef(name=name, version=version, contract_sha256=contract_sha256(folder)))
        keep(settings, made[-1], lambda into, folder=folder: copy(folder, into))
    return made[0], made[1]


@pytest.fixture
def strategies(settings: RegistrySettings, strategy: Strategy) -> ActiveStrategies:
    """Strategies that start with the shipped model."""
    return ActiveStrategies(settings, Rollout(strategy), Metrics(), SystemClock())


def scored(strategies: ActiveStrategies, champion: int, challenger: int, of: int, failure: str = "") -> BatchDecision:
    """Return a batch of which each model flags the given number."""
    flag_counts = {"champion": FlagCount(of, champion), "challenger": FlagCount(of, challenger)}
    return BatchDecision([], [], dict, None, strategies.rollout.versions, {}, flag_counts, failure)  # type: ignore[arg-type]


def test_records_put_versions_into_force(strategies: ActiveStrategies, versions: tuple[ModelRef, ModelRef]) -> None:
    """Champion, challenger and fraction are those of the record, and metrics name them."""
    old, new = versions
    assert strategies.apply(Models(champion=old, challenger=new, rollout_fraction=0.2, **WHO))
    assert strategies.rollout.versions["model"] == str(old)
    assert strategies.rollout.versions["challenger"] == str(new)
    assert strategies.rollout.rollout_fraction == 0.2
    text = strategies._metrics.render().decode()
    assert f'vedette_in_force{{role="champion",version="{old}"}} 1.0' in text
    assert strategies.apply(Models(champion=new, **WHO))
    assert strategies.rollout.challenger is None
    assert f'vedette_in_force{{role="champion",version="{old}"}}' not in strategies._metrics.render().decode()


@pytest.mark.parametrize("damage", ["booster", "contract", "missing"])
def test_what_cannot_be_trusted_is_refused(
    strategies: ActiveStrategies, settings: RegistrySettings, versions: tuple[ModelRef, ModelRef], damage: str
) -> None:
    """A changed booster or contract, or an unknown version, leaves the old rollout; metrics and health report it."""
    old, new = versions
    strategies.apply(Models(champion=old, **WHO))
    before = strategies.rollout
    folder = next(Path(settings.served, "new").iterdir())
    if damage == "missing":
        new = ModelRef(name="gone", version="00000000", contract_sha256="0" * 64)
    else:
        file = folder / ("model.txt" if damage == "booster" else "contract.json")
        file.write_bytes(file.read_bytes()[:-20])
    assert not strategies.apply(Models(champion=new, **WHO))
    assert strategies.rollout is before
    assert "vedette_model_refused_total 1.0" in strategies._metrics.render().decode()
    assert str(new) in (strategies._metrics.health.refusal or "")
    assert strategies.apply(Models(champion=old, **WHO))
    assert strategies._metrics.health.refusal is None


def test_a_challenger_that_flags_too_much_is_withdrawn(
    strategies: ActiveStrategies, versions: tuple[ModelRef, ModelRef]
) -> None:
    """Within the guard's bounds nothing happens; beyond them the champion is alone, and other workers are told why."""
    old, new = versions
    guard = RolloutGuardrail(max_alert_ratio=2, min_payments=1_000)
    strategies.apply(Models(champion=old, challenger=new, rollout_fraction=0.5, guardrail=guard, **WHO))
    for _ in range(4):
        strategies.observe(scored(strategies, 10, 19, 500))
    assert strategies.rollout.challenger is not None
    strategies.observe(scored(strategies, 10, 30, 500))
    assert strategies.rollout.challenger is not None, "too few to say"
    strategies.observe(scored(strategies, 10, 30, 500))
    assert strategies.rollout.challenger is None
    (record,) = strategies.outgoing
    assert (record.champion, record.challenger, record.approver) == (old, None, BY_GUARDRAIL)
    assert record.withdrawn == new
    assert "60 of 1000" in record.reason


def test_a_challenger_that_fails_is_withdrawn_at_once(
    strategies: ActiveStrategies, versions: tuple[ModelRef, ModelRef]
) -> None:
    """One error is enough."""
    old, new = versions
    strategies.apply(Models(champion=old, challenger=new, rollout_fraction=0.5, **WHO))
    strategies.observe(scored(strategies, 0, 0, 1, "RuntimeError: broken"))
    assert strategies.rollout.challenger is None
    assert "broken" in strategies.outgoing[0].reason


def test_a_policy_comes_with_its_lists(strategies: ActiveStrategies, tmp_path: Path) -> None:
    """A policy record contains the files of its lists, and replaces only the policy of the rollout."""
    text = (ROOT / "decisions/policy.yaml").read_text()
    listed = "block:\n    - {name: known, column: merchant_id, file: bad.txt, reason: on our list}"
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("name: default", "name: mine").replace("block: []", listed))
    (tmp_path / "bad.txt").write_text("M-1\n")
    record = policy_record(policy_files(file), **WHO)
    shutil.rmtree(tmp_path, ignore_errors=True)
    scorer = strategies.rollout.champion.scorer
    assert strategies.apply(record)
    assert strategies.rollout.versions["policy"].startswith("mine@")
    assert strategies.rollout.champion.policy.listed["known"] == frozenset({"M-1"})
    assert strategies.rollout.champion.scorer is scorer
    broken = msgspec.structs.replace(record, files=record.files | {"policy.yaml": "rules: 7"})
    assert not strategies.apply(broken)
    assert strategies.rollout.versions["policy"].startswith("mine@")


def test_a_policy_needs_an_approver() -> None:
    """Without a name no record is made."""
    with pytest.raises(InputError, match="approver"):
        policy_record(policy_files(ROOT / "decisions/policy.yaml"), approver="", reason="x", at=0)


def test_commands_take_what_the_control_topic_has_in_force(
    settings: RegistrySettings, versions: tuple[ModelRef, ModelRef], tmp_path: Path
) -> None:
    """Model and policy are those that workers follow unless files are given; without records, those of the settings."""
    for name in ("sent", "given"):
        (tmp_path / f"{name}.yaml").write_text(f"format: 1\nname: {name}\nversion: 1\n", encoding="utf-8")
    sent = policy_record(policy_files(tmp_path / "sent.yaml"), approver="Ada", reason="because", at=1)
    control = ControlState(models=Models(champion=versions[0], **WHO), policy=sent)
    deployment = Settings(registry=settings)
    chosen = strategy_in_force(deployment, control).versions
    assert (chosen["model"], chosen["policy"].partition("@")[0]) == (str(versions[0]), "sent")
    given = strategy_in_force(deployment, control, model=ROOT / "models/demo", policy=tmp_path / "given.yaml").versions
    shipped = strategy_in_force(deployment, None).versions
    assert (given["model"], given["policy"].partition("@")[0]) == (shipped["model"], "given")
    assert shipped["policy"].partition("@")[0] == "default"
    assert strategy_in_force(deployment, ControlState()).versions == shipped
