"""The alert rules, checked and unit-tested by Prometheus' own tool."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from streams.metrics import Metrics
from tests.conftest import missing
from vedette.errors import UnavailableError

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


@pytest.mark.parametrize(
    "arguments", [("check", "rules", "rules.yml"), ("check", "config", "--syntax-only", "prometheus.yml"),
                  ("test", "rules", "rules_test.yml")],
)  # fmt: skip
def test_promtool_accepts(arguments: tuple[str, ...]) -> None:
    """The rules are valid, and each one fires and stays silent as its unit test says."""
    if shutil.which("promtool") is None:
        missing(UnavailableError("promtool is not installed", remedy="run scripts/install-test-deps"))
    done = subprocess.run(("promtool", *arguments), cwd=RULES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_is_about_metrics_that_a_worker_has(alert: dict[str, object]) -> None:
    """No rule can stay silent because a metric was renamed."""
    samples = {sample.name for metric in Metrics().registry.collect() for sample in metric.samples}
    families = {metric.name for metric in Metrics().registry.collect()}
    known = samples | families | {f"{name}_total" for name in families} | {f"{name}_bucket" for name in families}
    known |= {f"{name}_count" for name in families}
    named = set(re.findall(r"vedette_\w+", str(alert["expr"])))
    assert named <= known, named - known


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_has_a_section_in_the_runbook_and_a_test(alert: dict[str, object]) -> None:
    """The person on call finds what to do, and the rule has been seen to fire."""
    name = str(alert["alert"])
    assert f"\n## {name}\n" in (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    assert name in (RULES.parent / "rules_test.yml").read_text(encoding="utf-8")
    annotations = alert["annotations"]
    assert isinstance(annotations, dict)
    assert annotations["runbook"] == f"docs/runbook.md#{name.lower()}"
