import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from models.folder import read_contract
from models.registry import Registry, fetch, promotion
from models.registry.model_cache import contract_sha256
from models.registry.model_card_store import CARD_HTML, CARD_MARKDOWN, fill_in, register
from vedette.control import ModelRef, RolloutGuardrail
from vedette.errors import InputError, ModelError
from vedette.settings import DecisionSettings, RegistrySettings

Folders = tuple[Path, Path]
WHO = {"approver": "Ada", "reason": "it is <b>better</b> | cheaper", "at": 7}


def test_a_version_is_a_run_with_all_that_made_it(registry: Registry, folders: Folders) -> None:
    """Its run has parameters, metrics, data hash and code of a registered folder; registering again gives the same."""
    version = register(registry, folders[0], 5)
    assert register(registry, folders[0], 6) == version
    assert registry.versions() == [version]
    assert (version.number, version.standing, version.registered_at) == (1, "registered", 5)
    contract = read_contract(folders[0])
    run = registry._client.get_run(version.run).data
    assert run.params["learning_rate"] == str(contract.config.learning_rate)
    assert run.metrics["validation_auc"] == contract.validation.auc
    assert run.tags["data_hash"] == contract.data_hash
    assert run.tags["git_commit"] == "c0de"


def test_a_model_without_some_metrics_is_registered(registry: Registry, tmp_path: Path) -> None:
    """Metrics that the folder of an older model lacks are left out."""
    folder = Path(shutil.copytree(DecisionSettings().model_folder, tmp_path / "older"))
    contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
    del contract["validation"]["best_card_precision_100"]
    (folder / "contract.json").write_text(json.dumps(contract), encoding="utf-8")
    validation = read_contract(folder).validation
    assert validation.best_card_precision_100 is None
    metrics = registry._client.get_run(register(registry, folder, 5).run).data.metrics
    assert metrics["validation_auc"] == validation.auc
    assert "validation_best_card_precision_100" not in metrics


def test_the_life_of_two_versions(registry: Registry, folders: Folders) -> None:
    """Promotion, trial and rollback move the aliases, say what is in force, and are recorded with who and why."""
    old, new = (register(registry, folder, at) for at, folder in enumerate(folders))
    with pytest.raises(InputError, match="no champion yet"):
        promotion.start_trial(registry, new, 0.2, RolloutGuardrail(), **WHO)
    promotion.promote(registry, old, **WHO)
    tried = promotion.start_trial(registry, new, 0.2, RolloutGuardrail(), **WHO)
    assert (tried.champion, tried.challenger, tried.rollout_fraction) == (old.ref, new.ref, 0.2)
    assert [version.standing for version in registry.versions()] == ["champion", "challenger"]
    promoted = promotion.promote(registry, registry.find("challenger"), **WHO)
    assert (promoted.champion, promoted.challenger) == (new.ref, None)
    assert registry.find("previous").ref == old.ref
    back = promotion.rollback(registry, **WHO)
    assert back == registry.in_force()
    assert (back.champion, back.approver) == (old.ref, "Ada")
    acts = [(change.act, change.version, change.approver, change.reason) for change in registry.changes()]
    done = (("promote", old), ("start_trial", new), ("promote", new), ("rollback", old))
    assert acts == [(act, str(version.ref), "Ada", WHO["reason"]) for act, version in done]
    with pytest.raises(InputError, match="no previous champion"):
        promotion.rollback(registry, **WHO)


@pytest.mark.parametrize("missing", ["approver", "reason"])
def test_nothing_changes_without_a_word_from_somebody(registry: Registry, folders: Folders, missing: str) -> None:
    """A promotion without approver or reason is refused and leaves no trace."""
    version = register(registry, folders[0], 0)
    with pytest.raises(InputError, match=missing):
        promotion.promote(registry, version, **WHO | {missing: " "})
    assert registry.in_force() is None
    assert registry.changes() == []


def test_archived_versions_stay_out_of_service(registry: Registry, folders: Folders) -> None:
    """What is in service cannot be archived, and what is archived cannot be promoted."""
    old, new = (register(registry, folder, 0) for folder in folders)
    promotion.promote(registry, old, **WHO)
    with pytest.raises(InputError, match="in service as champion"):
        promotion.archive(registry, registry.find("champion"), **WHO)
    promotion.archive(registry, new, **WHO)
    with pytest.raises(InputError, match="archived"):
        promotion.promote(registry, registry.find("2"), **WHO)


def test_a_copy_is_proven_before_it_is_used(registry: Registry, settings: RegistrySettings, folders: Folders) -> None:
    """A served copy that was lost is created again from the registry; one that was changed is refused by name."""
    ref = register(registry, folders[0], 0).ref
    copy = fetch(settings, ref)
    original = (copy / "contract.json").read_bytes()
    shutil.rmtree(copy)
    assert (fetch(settings, ref) / "contract.json").read_bytes() == original
    (copy / "contract.json").write_bytes(original.replace(b'"old"', b'"odd"'))
    with pytest.raises(ModelError, match="holds contract"):
        fetch(settings, ref)
    other = ModelRef(name="new", version=ref.version, contract_sha256=contract_sha256(folders[1]))
    with pytest.raises(ModelError, match="does not have new@"):
        fetch(settings, other)


def test_the_card_says_who_approved_and_what_people_must_fill_in(registry: Registry, folders: Folders) -> None:
    """The card names approvals, differences from the previous champion, and open items until they are answered."""
    promotion.promote(registry, register(registry, folders[0], 0), **WHO)
    new = register(registry, folders[1], 1)
    text = registry.attached(new, CARD_MARKDOWN) or ""
    assert "| trees | 30 | 20 |" in text
    assert "*for a person to fill in: `sr-owner`*" in text
    fill_in(registry, new, answers={"sr-owner": "Jane <Doe>"})
    text, page = (registry.attached(new, name) or "" for name in (CARD_MARKDOWN, CARD_HTML))
    assert "| ☑ | V, roles |" in text
    assert "Jane &lt;Doe&gt;" in page
    assert "<table>" in page
    with pytest.raises(InputError, match="no checklist has an item 'nonsense'"):
        fill_in(registry, new, answers={"nonsense": "x"})


@pytest.mark.runs(
    "models register",
    "models promote",
    "models list",
    "models compare",
    "models show",
    "models card",
    "models archive",
    "models trial start",
    "models trial end",
)
def test_the_commands_do_all_of_it(
    settings: RegistrySettings, folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Register, promote, compare, show and list work from the command line, and the approval is on the card."""
    for name in ("url", "artifacts", "model", "served"):
        monkeypatch.setenv(f"VEDETTE_REGISTRY__{name.upper()}", getattr(settings, name))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["models", *arguments], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    for folder in folders:
        run("register", str(folder))
    who = ("--reason", "first of all", "--approver", "Ada", "--no-publish")
    assert run("promote", "1", *who).startswith("in force: old@")
    run("trial", "start", "2", "--fraction", "0.2", *who)
    assert "challenger, 20% of the accounts" in run("list")
    listed = json.loads(run("list", "--json"))
    assert [version["standing"] for version in listed["versions"]] == ["champion", "challenger"]
    compared = json.loads(run("compare", "1", "2", "--json"))
    assert ["trees", "30", "20"] in compared["differences"]
    assert json.loads(run("show", "champion", "--json"))["changes"][0]["reason"] == "first of all"
    assert "first of all" in run("card", "champion")
    run("card", "champion", "--html", str(tmp_path / "card.html"))
    assert "<h1>Model card: old@" in (tmp_path / "card.html").read_text(encoding="utf-8")
    run("trial", "end", *who)
    run("archive", "2", "--reason", "no use", "--approver", "Ada")
    assert "archived" in run("list")
