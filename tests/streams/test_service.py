import shutil
from pathlib import Path

import msgspec
import pytest

from models.registry.served import contract_sha256, copy, keep
from streams.metrics import Metrics
from streams.panel import Panel, Scored, Tally
from streams.scoring import Judge
from streams.service import Service, policy_record
from tests.streams.conftest import ROOT
from vedette import SystemClock
from vedette.control import Guard, ModelRef, Models
from vedette.errors import InputError
from vedette.settings import RegistrySettings

WHO = {"approver": "Ada", "reason": "because", "at": 1}


@pytest.fixture
def settings(tmp_path: Path) -> RegistrySettings:
    """A registry that holds nothing; what is in force comes from copies alone."""
    return RegistrySettings(url=f"sqlite:///{tmp_path}/none.sqlite", served=str(tmp_path / "served"))


@pytest.fixture
def versions(settings: RegistrySettings, tmp_path: Path) -> tuple[ModelRef, ModelRef]:
    """Two served versions, which are the shipped model under two names."""
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
def service(settings: RegistrySettings, judge: Judge) -> Service:
    """A service that starts with the shipped model."""
    return Service(settings, Panel(judge), Metrics(), SystemClock())


def scored(service: Service, champion: int, challenger: int, of: int, failure: str = "") -> Scored:
    """A batch of which each model flags so many."""
    tallies = {"champion": Tally(of, champion), "challenger": Tally(of, challenger)}
    return Scored([], [], dict, None, service.panel.about, {}, tallies, failure)  # type: ignore[arg-type]


def test_records_put_versions_into_force(service: Service, versions: tuple[ModelRef, ModelRef]) -> None:
    """Champion, challenger and share are what the record says, and metrics name them."""
    old, new = versions
    assert service.apply(Models(champion=old, challenger=new, share=0.2, **WHO))
    assert service.panel.about["model"] == str(old)
    assert service.panel.about["challenger"] == str(new)
    assert service.panel.share == 0.2
    text = service._metrics.render().decode()
    assert f'vedette_in_force{{role="champion",version="{old}"}} 1.0' in text
    assert service.apply(Models(champion=new, **WHO))
    assert service.panel.challenger is None
    assert f'vedette_in_force{{role="champion",version="{old}"}}' not in service._metrics.render().decode()


@pytest.mark.parametrize("damage", ["booster", "contract", "missing"])
def test_what_cannot_be_trusted_is_refused(
    service: Service, settings: RegistrySettings, versions: tuple[ModelRef, ModelRef], damage: str
) -> None:
    """A changed booster or contract, or an unknown version, leaves the old panel, and metrics and health say so."""
    old, new = versions
    service.apply(Models(champion=old, **WHO))
    before = service.panel
    folder = next(Path(settings.served, "new").iterdir())
    if damage == "missing":
        new = ModelRef(name="gone", version="00000000", contract_sha256="0" * 64)
    else:
        file = folder / ("model.txt" if damage == "booster" else "contract.json")
        file.write_bytes(file.read_bytes()[:-20])
    assert not service.apply(Models(champion=new, **WHO))
    assert service.panel is before
    assert "vedette_model_refused_total 1.0" in service._metrics.render().decode()
    assert str(new) in (service._metrics.refusal or "")
    assert service.apply(Models(champion=old, **WHO))
    assert service._metrics.refusal is None


def test_a_challenger_that_flags_too_much_is_withdrawn(service: Service, versions: tuple[ModelRef, ModelRef]) -> None:
    """Within the guard's bounds nothing happens; beyond them the champion is alone, and the others are to hear why."""
    old, new = versions
    guard = Guard(most_alerts=2, least_payments=1_000)
    service.apply(Models(champion=old, challenger=new, share=0.5, guard=guard, **WHO))
    for _ in range(4):
        service.seen(scored(service, 10, 19, 500))
    assert service.panel.challenger is not None
    service.seen(scored(service, 10, 30, 500))
    assert service.panel.challenger is not None, "too few to say"
    service.seen(scored(service, 10, 30, 500))
    assert service.panel.challenger is None
    (record,) = service.outgoing
    assert (record.champion, record.challenger, record.approver) == (old, None, "guard")
    assert "60 of 1000" in record.reason


def test_a_challenger_that_fails_is_withdrawn_at_once(service: Service, versions: tuple[ModelRef, ModelRef]) -> None:
    """One error is enough."""
    old, new = versions
    service.apply(Models(champion=old, challenger=new, share=0.5, **WHO))
    service.seen(scored(service, 0, 0, 1, "RuntimeError: broken"))
    assert service.panel.challenger is None
    assert "broken" in service.outgoing[0].reason


def test_a_policy_comes_with_its_lists(service: Service, tmp_path: Path) -> None:
    """A policy record carries the files that its lists name, and replaces the policy of the panel alone."""
    text = (ROOT / "streams/policy.yaml").read_text()
    listed = "block:\n    - {name: known, column: merchant_id, file: bad.txt, reason: on our list}"
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("name: default", "name: mine").replace("block: []", listed))
    (tmp_path / "bad.txt").write_text("M-1\n")
    record = policy_record(file, **WHO)
    shutil.rmtree(tmp_path, ignore_errors=True)
    scorer = service.panel.champion.scorer
    assert service.apply(record)
    assert service.panel.about["policy"].startswith("mine@")
    assert service.panel.champion.policy.listed["known"] == frozenset({"M-1"})
    assert service.panel.champion.scorer is scorer
    broken = msgspec.structs.replace(record, files=record.files | {"policy.yaml": "rules: 7"})
    assert not service.apply(broken)
    assert service.panel.about["policy"].startswith("mine@")


def test_a_policy_needs_an_approver() -> None:
    """Without a name nothing is made that could be sent."""
    with pytest.raises(InputError, match="approver"):
        policy_record(ROOT / "streams/policy.yaml", approver="", reason="x", at=0)
