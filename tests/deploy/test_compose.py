"""The compose file as far as it can be checked without a Docker engine; scripts/compose-test runs it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from cli.main import app
from vedette.settings_base import Secret
from vedette.settings_file import load_settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if str(service["image"]).startswith("${VEDETTE_IMAGE")}


def value(text: str) -> str:
    """Return a value with the defaults of its variables."""
    return re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str, tmp_path: Path) -> None:
    """Each service's environment is accepted by Vedette's own settings."""
    environment = {key: value(str(given)) for key, given in OURS[name]["environment"].items()}
    for key in [key for key in environment if key.endswith("_FILE")]:
        file = tmp_path / key
        file.write_text("x" * 64, encoding="utf-8")
        environment[key] = str(file)
    settings = load_settings(None, environment)
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert isinstance(settings.audit.key, Secret)


@pytest.mark.parametrize("name", [name for name in OURS if OURS[name].get("command")])
def test_every_command_exists(name: str) -> None:
    """The words of a service's command are a Vedette command."""
    group: Any = get_command(app)
    for word in str(OURS[name]["command"]).split():
        if word.startswith("-") or not hasattr(group, "commands"):
            break
        assert word in group.commands, word
        group = group.commands[word]


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_listens_beyond_this_machine(name: str) -> None:
    """Published ports are bound to the loopback address."""
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_bounded(name: str) -> None:
    """Long-running services have a memory limit and restart after a failure; Vedette's own have no privileges."""
    service = SERVICES[name]
    if name not in ("secrets", "topics"):
        assert service.get("mem_limit"), name
    if name in OURS:
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


def test_no_secret_stands_in_the_file() -> None:
    """Secrets come from files that a deployment generates for itself."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert not re.search(r"(PASSWORD|TOKEN|KEY|KEYS): *[^ $/]", text)
