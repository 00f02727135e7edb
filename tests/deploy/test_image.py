"""The image as far as it can be checked without a Docker engine; scripts/compose-test builds and runs it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from adapters.http_server import Readiness
from adapters.logs import service_log
from adapters.metrics_app import metrics_app
from tests.conftest import ROOT
from tests.deploy.test_compose import OURS, SERVICES
from tests.serving import listening, served

HEALTHCHECK = ROOT / "deploy/compose/healthcheck"
ENDS = {"topics", "secrets", "feed"}
INBOXES = {"notify-inbox", "mfa-inbox"}


def check(command: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the image's health check for a command."""
    environ = {"PYTHONPATH": str(ROOT), "PATH": str(Path(sys.executable).parent), **environment}
    words = [sys.executable, str(HEALTHCHECK), *command.split()]
    return subprocess.run(words, env=environ, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_dockerfile_has_no_finding_of_hadolint() -> None:
    """Every rule holds, or the line says why it does not."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint has no package for this machine")
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_service_is_healthy_as_long_as_it_answers(tmp_path: Path) -> None:
    """The check asks the port of the settings; one that nobody listens to is named."""
    app = metrics_app("Vedette archive", CollectorRegistry(), Readiness(), service_log("test"))
    with listening() as (listener, _), served(app, listener):
        port = listener.getsockname()[1]
        assert check("archive run", tmp_path, VEDETTE_ARCHIVE__METRICS_PORT=str(port)).returncode == 0
    gone = check("archive run", tmp_path, VEDETTE_ARCHIVE__METRICS_PORT=str(port))
    assert gone.returncode == 1
    assert f"archive run does not answer at port {port}" in gone.stderr


def test_every_service_is_checked() -> None:
    """The image knows the port of every service of the compose file; what ends or only stands in is not checked."""
    text = HEALTHCHECK.read_text(encoding="utf-8")
    for name in OURS:
        off = SERVICES[name].get("healthcheck", {}).get("disable", False)
        assert off == (name in ENDS | INBOXES), name
        if not off and name != "notify":
            assert f'"{SERVICES[name]["command"]}": settings.' in text, name


def test_the_list_of_contents_is_written(tmp_path: Path) -> None:
    """`make sbom` resolves what the image installs; each component has a version and a package URL."""
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "sbom"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    extras = re.search(r"image-requirements ([a-z ]+)\|", done.stdout)
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert extras
    assert f'ARG EXTRAS="{extras[1].strip()}"' in dockerfile
    pins = tmp_path / "pins.txt"
    pins.write_text("msgspec==0.19.0\nnumpy==2.2.0\n", encoding="utf-8")
    cyclonedx = Path(sys.executable).parent / "cyclonedx-py"
    written = subprocess.run(
        [str(cyclonedx), "requirements", "--pyproject", str(ROOT / "pyproject.toml"), str(pins)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(written.stdout)
    assert found["bomFormat"] == "CycloneDX"
    assert {part["purl"] for part in found["components"]} == {"pkg:pypi/msgspec@0.19.0", "pkg:pypi/numpy@2.2.0"}
