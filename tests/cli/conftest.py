"""What tests of commands share."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests import command
from tests.command import Done
from tests.conftest import ROOT
from vedette import Settings

Run = Callable[..., Done]


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """Variables under which a command uses the embedded stack."""
    return {
        "VEDETTE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "VEDETTE_TOPICS__PREFIX": settings.topics.prefix,
        "VEDETTE_REDIS__URL": settings.redis.url,
        "VEDETTE_REDIS__PREFIX": settings.redis.prefix,
        "VEDETTE_DECISIONS__MODEL": str(ROOT / "models" / "demo"),
        "VEDETTE_DECISIONS__POLICY": str(ROOT / "decisions" / "policy.yaml"),
    }


@pytest.fixture
def vedette(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs a command against the embedded stack, in a separate folder."""
    return partial(command.vedette, cwd=tmp_path, environment=environment)
