"""The alert rules, checked and unit-tested by Prometheus' own tool."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.metrics_page import described
from tests.commands_run import every_command
from tests.conftest import missing
from vedette.errors import UnavailableError

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
RUNBOOKS = ROOT / "docs" / "runbooks"
EVERY = [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in EVERY if "alert" in rule]
TESTS = [
    check
    for name in ("rules_test.yml", "budgets_test.yml")
    for test in yaml.safe_load((RULES.parent / name).read_text(encoding="utf-8"))["tests"]
    for check in test["alert_rule_test"]
]


@pytest.mark.parametrize(
    "arguments", [("check", "rules", "rules.yml"), ("check", "config", "--syntax-only", "prometheus.yml"),
                  ("test", "rules", "rules_test.yml", "budgets_test.yml")],
)  # fmt: skip
def test_promtool_accepts(arguments: tuple[str, ...]) -> None:
    """The rules are valid, and each one fires and stays silent as its unit test says."""
    if shutil.which("promtool") is None:
        missing(UnavailableError("promtool is not installed", remedy="run scripts/install-test-deps"))
    done = subprocess.run(("promtool", *arguments), cwd=RULES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_is_about_metrics_that_a_service_has(rule: dict[str, str]) -> None:
    """No rule can stay silent because a metric was renamed."""
    known = {metric.name for metric in described()}
    known |= {f"{name}_{part}" for name in known for part in ("bucket", "count")}
    records = {each["record"] for each in EVERY if "record" in each}
    assert set(re.findall(r"vedette_\w+", rule["expr"])) <= known
    assert set(re.findall(r"vedette:\w+:\w+", rule["expr"])) <= records
    assert re.search(r"vedette|up", rule["expr"])


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
def test_an_alert_has_a_runbook_and_has_been_seen_to_fire_and_to_be_silent(alert: dict[str, Any]) -> None:
    """The person on call finds what to do; each severity of each rule fires in a unit test, and is silent in one."""
    name, severity = alert["alert"], alert["labels"]["severity"]
    assert severity in ("critical", "warning")
    assert alert["annotations"]["runbook"] == f"docs/runbooks/{name}.md"
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n\n")
    assert f"[{name}]({name}.md)" in (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    fired = [each for check in TESTS if check["alertname"] == name for each in check["exp_alerts"]]
    assert any(each["exp_labels"]["severity"] == severity for each in fired)
    assert any(check["alertname"] == name and not check["exp_alerts"] for check in TESTS)


def test_no_runbook_is_left_without_its_alert() -> None:
    """A page about an alert that is gone would mislead."""
    names = {str(alert["alert"]) for alert in ALERTS}
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == names | {"README"}


def test_runbooks_name_metrics_and_commands_that_exist() -> None:
    """What the person on call types works."""
    known = {metric.name for metric in described()}
    commands = every_command()
    for page in RUNBOOKS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"`(vedette_\w+)", text)) <= known, page.name
        for words in re.findall(r"`vedette ([a-z][a-z -]*)", text):
            named = words.split(" -")[0].strip()
            assert any(named == command or command.startswith(f"{named} ") for command in commands), (page.name, named)


def test_alertmanager_accepts_its_configuration() -> None:
    """The configuration is valid, and what it mutes are alerts that exist."""
    config = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
    names = {str(alert["alert"]) for alert in ALERTS}
    for rule in yaml.safe_load(config.read_text(encoding="utf-8"))["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            label, operator, wanted = matcher.split(" ", 2)
            if label == "alertname":
                assert any(re.fullmatch(wanted.strip("'"), name) for name in names), matcher
                assert operator in ("=", "=~")
    if shutil.which("amtool") is None:
        missing(UnavailableError("amtool is not installed", remedy="run scripts/install-test-deps"))
    done = subprocess.run(("amtool", "check-config", str(config)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
