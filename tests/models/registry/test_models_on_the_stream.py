"""`vedette models` with a broker: the records that the workers follow."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from cli.main import app
from models.registry import Registry
from stack.local import LocalStack
from stack.topics import apply
from streams.control_publisher import publish
from streams.history.control_state import read_control
from tests.conftest import SettingsFor
from vedette.control import BY_GUARDRAIL, Models
from vedette.errors import InputError
from vedette.settings import RegistrySettings, Settings
from vedette.settings_page import describe

Run = Callable[..., str]
WHO = ("--reason", "because", "--approver", "Ada")


@pytest.fixture
def deployment(
    embedded_stack: LocalStack, settings_for: SettingsFor, topic_prefix: str, settings: RegistrySettings
) -> Settings:
    """Topics on the shared stack, and an empty registry."""
    made = msgspec.structs.replace(settings_for(embedded_stack, topic_prefix), registry=settings)
    apply(made)
    return made


@pytest.fixture
def run(deployment: Settings, folders: tuple[Path, Path], tmp_path: Path) -> Run:
    """Runs `vedette models …`; two versions are registered, and the second is champion after the first."""
    file = tmp_path / "vedette.toml"
    file.write_text(describe(deployment), encoding="utf-8")

    def command(*arguments: str) -> str:
        result = CliRunner().invoke(app, ("--settings", str(file), "models", *arguments), catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    for number, folder in enumerate(folders, start=1):
        command("register", str(folder))
        command("promote", str(number), *WHO)
    return command


def test_a_rollback_reaches_workers_and_registry(run: Run, deployment: Settings) -> None:
    """The record that workers follow and the registry return to the same version, and then to none."""
    before = read_control(deployment).models
    assert before
    assert before.previous
    assert before.champion.name == "new"
    assert run("rollback", *WHO).startswith("in force: old@")
    after = read_control(deployment).models
    assert after == Registry(deployment.registry).in_force()
    assert after
    assert (after.champion, after.previous, after.approver) == (before.previous, None, "Ada")
    with pytest.raises(InputError, match="no previous champion"):
        run("rollback", *WHO)


def test_an_archived_version_is_not_returned_to(run: Run, deployment: Settings) -> None:
    """Archiving the previous champion takes it out of the record, so that a rollback is refused."""
    run("archive", "1", *WHO)
    followed = read_control(deployment).models
    assert followed
    assert followed.previous is None
    with pytest.raises(InputError, match="no previous champion"):
        run("rollback", *WHO)


def test_a_withdrawal_by_the_guardrail_is_listed(run: Run, deployment: Settings) -> None:
    """The list says that a worker withdrew the challenger and why, until the registry records the end of the trial."""
    run("trial", "start", "1", "--fraction", "0.5", *WHO)
    assert "challenger, 50% of the accounts" in run("list")
    now = read_control(deployment).models
    assert now
    assert now.challenger
    publish(
        deployment,
        Models(champion=now.champion, previous=now.previous, withdrawn=now.challenger, at=now.at + 1,
               approver=BY_GUARDRAIL, reason="it would flag 60 of 1000 payments, the champion 10"),
    )  # fmt: skip
    listed = run("list")
    assert "challenger, withdrawn by the guardrail" in listed
    assert "it would flag 60 of 1000 payments" in listed
    assert json.loads(run("list", "--json"))["control"]["withdrawn"]["name"] == "old"
    run("trial", "end", *WHO)
    assert "withdrawn" not in run("list")


@pytest.mark.runs("models rollback", "models publish")
def test_publish_repeats_what_the_registry_says(run: Run, deployment: Settings) -> None:
    """After a change that was not published, the list says so, and `publish` lets the workers follow."""
    run("rollback", *WHO, "--no-publish")
    assert "The workers follow new@" in run("list")
    assert run("publish").startswith("in force: old@")
    assert read_control(deployment).models == Registry(deployment.registry).in_force()
    assert "follow" not in run("list")
